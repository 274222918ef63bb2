# What plants bugs: sourced by the scripts that do. They set `work`, a directory that is a package with copies of the
# sources; `tests`, the name of the simulation; `options` of the build; `schedules`, how many are run; and `wanted`, an
# expression.
missed=0

simulate() {
    swift build "${options[@]}" --build-tests >build.log 2>&1 || { tail -40 build.log; exit 1; }
    INTROSPECT_SCHEDULES=${INTROSPECT_SCHEDULES:-$schedules} timeout 900 \
        swift test "${options[@]}" --skip-build --filter "$tests" >test.log 2>&1
}

# plant NAME {FILE TEXT REPLACEMENT}...: TEXT, which the file holds once (a run of white space counts as one blank), is
# replaced.
plant() {
    local name=$1 started=$SECONDS
    [[ $name =~ $wanted ]] || return 0
    shift
    rm -rf original && cp -r Sources original
    while (($#)); do
        python3 - "Sources/$1" "$2" "$3" <<'PYTHON'
import re, sys
path, text, replacement = sys.argv[1:]
pattern = r"\s+".join(re.escape(word) for word in text.split())
source, count = re.subn(pattern, lambda _: replacement, open(path).read())
assert count == 1, f"{path}: {count} places hold {text!r}"
open(path, "w").write(source)
PYTHON
        shift 3
    done
    if simulate; then
        echo "$name: NOT FOUND ($((SECONDS - started)) s)"
        missed=1
    else
        count=$(grep -cE '(↳|issue).*seed [0-9]+' test.log || true)
        seeds=$(grep -m 4 -oE 'seed [0-9]+(, crash at access [0-9]+)?: ' test.log | tr '\n' ' ')
        if [[ -n $seeds ]]; then
            echo "$name: found $count times, first by $seeds($((SECONDS - started)) s)"
        else
            tail -20 test.log
            missed=1
        fi
    fi
    # Only what differs: the rest need not be built again.
    (cd original && find . -type f) | while read -r file; do
        cmp -s "original/$file" "Sources/$file" || cp "original/$file" "Sources/$file"
    done
}

plantNothing() {
    [[ -z $wanted ]] || return 0
    simulate || { tail -20 test.log; exit 1; }
    echo "no bug: nothing found"
}
