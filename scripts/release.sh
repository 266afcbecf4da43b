#!/usr/bin/env bash
# Builds a release for this machine and tests it as a user would get it: the program, a Python wheel with manual and
# completions, both run in places where there is no clone.
#
#     scripts/release.sh            # everything into dist/
#     CARGO_TARGET_DIR=... scripts/release.sh
#
# Needs: cargo, python3 with venv, maturin (pip install maturin). Nothing is uploaded.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
out="$PWD/dist"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
name="runner-$version-$(rustc -vV | sed -n 's/^host: //p')"
step() { printf '\n== %s\n' "$*" >&2; }

step "changes of $version"
# The section of this version, up to the next one.
notes=$(awk -v v="$version" '/^## /{inside = index($0, "## " v) == 1; next} inside' CHANGELOG.md)
[ -n "$notes" ] || { echo "error: CHANGELOG.md has no section '## $version'" >&2; exit 1; }
rm -rf "$out"
mkdir -p "$out"
printf '%s\n' "$notes" > "$out/CHANGES-$version.md"

step "program"
cargo build --release --locked
program="$CARGO_TARGET_DIR/release/runner"

step "manual and completions"
data="$PWD/packaging/runner.data/data/share"
rm -rf "$data"/{man,bash-completion,zsh,fish}
mkdir -p "$data"/{man/man1,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
"$program" man "$data/man/man1"
"$program" completions bash > "$data/bash-completion/completions/runner"
"$program" completions zsh > "$data/zsh/site-functions/_runner"
"$program" completions fish > "$data/fish/vendor_completions.d/runner.fish"

step "wheel"
maturin build --release --locked --out "$out"
wheel=$(echo "$out"/runner-"$version"-*.whl)

step "archive"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/$name"
cp -r "$program" README.md CHANGELOG.md LICENSE* "$data" "$stage/$name/"
tar -C "$stage" -czf "$out/$name.tar.gz" "$name"

step "test: the wheel in an empty environment, the quickstart's smoke profile in an empty folder"
python3 -m venv "$stage/venv"
start=$(date +%s.%N)
"$stage/venv/bin/pip" install --quiet --no-index "$wheel"
mkdir "$stage/work"
(
    cd "$stage/work"
    export PATH="$stage/venv/bin:$PATH" XDG_CACHE_HOME="$stage/cache"
    runner --version
    runner ls > /dev/null
    runner quickstart --profile smoke --device cpu --no-progress > smoke.md
    report=$(echo results/*/report.html)
    grep -q 'class="result"' "$report"
    echo "from pip install to $report: $(python3 -c "import sys, time; print(f'{time.time() - float(sys.argv[1]):.1f} s')" "$start")"
    runner init mine
    runner validate mine.toml
    test -s "$stage/venv/share/man/man1/runner.1"
)

step "checksums"
(cd "$out" && sha256sum -- * > SHA256SUMS)
ls -l "$out"
