#!/bin/sh
# Makes the XDR routines of both programs from their .x files with rpcgen: in this folder, or in the one named.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here}
mkdir -p "$output/include"
cd "$here"
for program in mount3 nfs3; do
    rm -f "$output/include/$program.h" "$output/${program}_xdr.c"
    rpcgen -C -N -h -o "$output/include/$program.h" "$program.x"
    rpcgen -C -N -c -o "$output/${program}_xdr.c" "$program.x"
done
