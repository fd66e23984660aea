#!/usr/bin/env bash
# The declared rust-version, for the library alone: no dependency of it asks for a newer one, and (clippy's incompatible_msrv, in
# lint.sh) nor does the code. Where that toolchain is there or can be had, it builds.
. "$(dirname "$0")/lib.sh"

need jq jq
declared=$(cargo metadata --locked --no-deps --format-version 1 | jq -r '.packages[0].rust_version')
printf '\nDependencies of the library that ask for a newer Rust than %s:\n' "$declared"
newer=$(cargo metadata --locked --all-features --format-version 1 | jq -r --arg declared "$declared" '
    def version: split(".") | map(tonumber);
    (.resolve.nodes | map({key: .id, value: .}) | from_entries) as $nodes
    | def normal: .deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg;
      def reach($ids): [$ids[], ($ids[] | $nodes[.] | normal)] | unique | if . == $ids then . else reach(.) end;
      reach([.resolve.root] | unique) as $used
    | .packages[] | select(.id | IN($used[])) | select((.rust_version // "1.0" | version) > ($declared | version))
    | "\(.name) \(.version) asks \(.rust_version)"')
printf '%s\n' "${newer:-none}"
[ -z "$newer" ]

if cargo "+$declared" --version >/dev/null 2>&1 || run rustup toolchain install "$declared" --profile minimal; then
    run cargo "+$declared" check --locked --lib --all-features
    run cargo "+$declared" check --locked --lib --no-default-features
else
    not_run "Rust $declared, which is declared: its toolchain is not to be had"
fi
