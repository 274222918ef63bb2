#!/bin/bash
# Installs what `swift build` has made, and looks at what is there afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
    echo "make install: $*" >&2
    exit 1
}

make --no-print-directory install CONFIGURATION=debug PREFIX=/usr DESTDIR="$root"
usr=$root/usr

# Prints what bash would offer after the words of a command line, the last of which is being typed.
offered() {
    bash -c '
        source "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_KEY=9
        # complete -o filenames -F FUNCTION PROGRAM
        [[ $(complete -p "$1") =~ -F\ ([^\ ]+) ]]
        "${BASH_REMATCH[1]}" "$1" "${@: -1}" "${*: -2:1}" 2> /dev/null || true
        printf "%s\n" "${COMPREPLY[@]}"
    ' "$usr/share/bash-completion/completions/$1" "$@"
}

for program in introspectd introspectctl introspect-scan; do
    "$usr/bin/$program" --help > /dev/null || fail "$program does not run"
    page=$usr/share/man/man1/$program.1
    grep -q '^\.Nm "\?'"$program" "$page" || fail "$page does not name the program"
    grep -q 'Exit status: 0' "$page" || fail "$page does not tell the exit statuses"
    [ -s "$usr/share/zsh/site-functions/_$program" ] || fail "no completions of $program for zsh"
    [ -s "$usr/share/fish/vendor_completions.d/$program.fish" ] || fail "no completions of $program for fish"
    # A page for each command that the program's help lists.
    "$usr/bin/$program" --help | sed -n '/^SUBCOMMANDS:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p' > "$root/commands"
    [ -s "$root/commands" ] || fail "the help of $program lists no commands"
    while read -r command; do
        [ -s "$usr/share/man/man1/$program.$command.1" ] || fail "no manual page of $program $command"
        offered "$program" "${command:0:1}" | grep -qx "$command" || fail "bash does not complete $program $command"
    done < "$root/commands"
done
offered introspect-scan map disk.img --out | grep -qx -- --output || fail "bash does not complete --output of map"
echo "make install: programs, manual pages and completions are there"
