# What plants bugs: sourced by the scripts that do, with their argument. They set `work`, a directory that is a package
# with copies of the sources; `tests`, the name of the simulation; `options` of the build; and `schedules`, how many are
# run. Then they name the bugs, and end with `plantAll`.
planting=$(dirname "${BASH_SOURCE[0]}")
wanted=${1:-} names=()
[[ $wanted != --check ]] || wanted=
mkdir bugs

# plant NAME {FILE TEXT REPLACEMENT}...: TEXT, which the file holds once (a run of white space counts as one blank), is
# going to be replaced.
plant() {
    [[ $1 =~ $wanted ]] || return 0
    printf '%s\0' "$@" >"bugs/${#names[@]}"
    names+=("$1")
}

# Status 2: what is to be simulated does not build.
simulate() {
    swift build "${options[@]}" --build-tests >build.log 2>&1 || return 2
    INTROSPECT_SCHEDULES=${INTROSPECT_SCHEDULES:-$schedules} timeout 900 \
        swift test "${options[@]}" --skip-build --filter "$tests" >test.log 2>&1 || return 1
}

# Plants the bug of this number alone, and sets `result`: what the simulation says of it.
try() {
    local started=$SECONDS status=0 count seeds
    rm -rf original && cp -r Sources original
    python3 "$planting/plant.py" plant "bugs/$1"
    simulate || status=$?
    if ((status == 0)); then
        result="NOT FOUND"
    elif ((status == 2)); then
        tail -40 build.log
        result="DOES NOT BUILD"
    else
        count=$(grep -cE '(↳|issue).*seed [0-9]+' test.log || true)
        seeds=$(grep -m 4 -oE 'seed [0-9]+(, crash at access [0-9]+)?: ' test.log | tr '\n' ' ' || true)
        result="found $count times, first by ${seeds% }"
        if [[ -z $seeds ]]; then
            tail -20 test.log
            result="ENDED WITHOUT A SEED"
        fi
    fi
    result+=" ($((SECONDS - started)) s)"
    # Only what differs: the rest need not be built again.
    (cd original && find . -type f) | while read -r file; do
        cmp -s "original/$file" "Sources/$file" || cp "original/$file" "Sources/$file"
    done
}

# Plants all bugs that are wanted, one after the other, and ends with a table of what came of each; the status is 1 unless
# each was found. All are looked at first: none is planted when one has no place in the sources any more.
# `--check` does no more than that.
plantAll() {
    local number missed=0 result results=()
    ((${#names[@]})) || { echo "no bug has such a name"; exit 1; }
    python3 "$planting/plant.py" check bugs/* || exit 1
    [[ ${1:-} != --check ]] || exit 0
    if [[ -z $wanted ]]; then
        simulate || { tail -20 build.log test.log; exit 1; }
        echo "no bug: nothing found"
    fi
    for number in "${!names[@]}"; do
        try "$number"
        echo "${names[number]}: $result"
        [[ $result == found* ]] || missed=1
        results+=("$result")
    done
    echo
    for number in "${!names[@]}"; do printf '%-75s %s\n' "${names[number]}" "${results[number]}"; done
    exit $missed
}
