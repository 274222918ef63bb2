# What lies around a fixture's file system. Sourced by `make`.
#
# place_NAME makes the disk in $directory from $volume and writes the manifest. Where the file system goes is taken
# from what sfdisk and LVM say, never from the code under test.

# `extent DISK-OFFSET VOLUME-OFFSET LENGTH` lines of the manifest, in bytes: where the volume's bytes lie.
extent() { echo "extent $1 $2 $3" >>"$manifest"; }
# `structure CLASS OFFSET LENGTH`: bytes of the disk that hold what is around the volumes.
structure() { echo "structure $1 $2 $3" >>"$manifest"; }

# Copies the volume FILE to the disk along its extents in the manifest.
fill_volume() {
    perl -e '
        my ($manifest, $volume, $disk) = @ARGV;
        open my $lines, "<", $manifest or die; open my $in, "<", "$volume" or die; open my $out, "+<", $disk or die;
        my $current;
        while (<$lines>) {
            $current = $1 if /^volume (\S+)/;
            next unless defined $current;
            next unless $volume =~ m{/\Q$current\E$} && /^extent (\d+) (\d+) (\d+)/;
            my ($to, $from, $left) = ($1, $2, $3);
            while ($left > 0) {
                sysseek $in, $from, 0; my $count = sysread $in, my $bytes, $left < 65536 ? $left : 65536;
                last unless $count;
                if ($bytes =~ /[^\0]/) { sysseek $out, $to, 0; syswrite $out, $bytes }
                $_ += $count for $from, $to; $left -= $count;
            }
        }
    ' "$manifest" "$1" "$disk"
}

# `volume FILE NAME`: starts the extents of the next volume.
volume() { echo "volume $1 $2" >>"$manifest"; }

place_disk() {
    ln "$volume" "$directory/disk.img"
    echo "image disk.img" >"$manifest"
    volume volume.img disk
    extent 0 0 "$volume_bytes"
}

# attach OFFSET LENGTH: sets $loop to a loop device for that part of the disk, with the disk's sectors. It goes away by
# itself with this process: it is detached at once, while a descriptor still holds it.
attach() {
    loop=$(losetup --find --show --sector-size "$sector" --offset "$1" --sizelimit "$2" "$disk")
    exec {holder}<"$loop"
    losetup --detach "$loop"
}

# partition NUMBER: prints "OFFSET LENGTH" of the disk's partition, in bytes.
partition() {
    sfdisk --dump "$table" | sed -nE "s/^[^ ]*(disk.img|p)$1 : //p" |
        sed -E "s/.*start= *([0-9]+), size= *([0-9]+).*/\1 \2/" |
        { read -r start count && echo "$((start * sector)) $((count * sector))"; }
}

# partitioned NUMBER SFDISK-SCRIPT: a disk with the volume in partition NUMBER; $1..$2 in the script is not expanded.
partitioned() {
    truncate -s $((${disk_bytes:-volume_bytes + 16 * 1048576})) "$disk"
    table=$disk
    if [ "$sector" != 512 ]; then
        attach 0 "$(stat -c %s "$disk")"
        table=$loop
    fi
    sfdisk --quiet --no-reread --no-tell-kernel "$table" <<<"$2"
    echo "image ${image:-disk.img}" >"$manifest"
    local offset length
    read -r offset length <<<"$(partition "$1")"
    [ "$length" -ge "$volume_bytes" ]
    volume volume.img "partition $1"
    extent "$offset" 0 "$volume_bytes"
    fill_volume "$volume"
    structure partition-table 0 512
}

sectors() { echo $(($1 * 1048576 / sector)); }

gpt_structures() {
    local entries=16384
    structure partition-table "$sector" "$sector"
    structure partition-table $((2 * sector)) $entries
    structure partition-table $(($(stat -c %s "$disk") - sector - entries)) $((entries + sector))
}

place_mbr() {
    partitioned 2 "label: dos
start=2048, size=4096, type=82
start=${mbr_start:-8192}, size=$(sectors $((volume_bytes / 1048576))), type=83, bootable"
}

place_logical() {
    partitioned 6 "label: dos
1: start=2048, size=4096, type=83
2: start=6144, size=$((volume_bytes / 512 + 16384)), type=5
5: start=8192, size=2048, type=82
6: start=14336, size=$((volume_bytes / 512)), type=83"
    structure partition-table $((6144 * 512)) 512
    local next
    next=$(od -An -tu4 -j $((6144 * 512 + 446 + 16 + 8)) -N 4 "$disk" | tr -d ' ')
    structure partition-table $(((6144 + next) * 512)) 512
}

place_gpt() {
    partitioned 2 "label: gpt
size=$(sectors 2), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"EFI System\"
size=$(sectors $((volume_bytes / 1048576))), name=\"root\""
    gpt_structures
}

place_gpt4096() {
    sector=4096
    place_gpt
}

# A GPT whose protective MBR also names the file system's partition.
place_hybrid() {
    place_gpt
    local offset length
    read -r offset length <<<"$(partition 2)"
    perl -e '
        my ($disk, $start, $count) = @ARGV;
        open my $f, "+<", $disk or die; sysseek $f, 446, 0;
        syswrite $f, pack "C8VVC8VV", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, $start - 1,
            0x80, 254, 255, 255, 0x83, 254, 255, 255, $start, $count;
    ' "$disk" $((offset / 512)) $((length / 512))
}

# physical_volume OFFSET LENGTH: attaches that part of the disk for LVM.
physical_volume() {
    attach "$1" "$2"
    offset_of[$loop]=$1
    loops+=("$loop")
}

lvm_setup() {
    declare -gA offset_of=()
    declare -ga loops=()
    export LVM_SYSTEM_DIR=$work/lvm LVM_SUPPRESS_FD_WARNINGS=1
    mkdir -p "$work/lvm" "$work/lock"
}

# Ends with the loop devices of this disk; LVM must not see those of others, which may hold the same names.
lvm_configure() {
    local filter="" loop
    for loop in "${loops[@]}"; do filter+="\"a|^$loop\$|\", "; done
    cat >"$work/lvm/lvm.conf" <<END
devices { use_devicesfile = 0  global_filter = [ $filter "r|.*|" ] }
global { locking_dir = "$work/lock"  use_lvmpolld = 0  event_activation = 0 }
backup { backup = 0  archive = 0 }
activation { udev_sync = 0  udev_rules = 0  monitoring = 0 }
END
}

lvm_run() { lvm "$@" --driverloaded n >"$work/lvm.out" 2>&1 || { cat "$work/lvm.out" >&2; return 1; }; }
lvm_create() { lvm_run lvcreate --activate n --zero n --wipesignatures n --yes "$@"; }
lvm_report() { lvm "$@" --driverloaded n --noheadings --units b --nosuffix --separator ' ' 2>/dev/null; }

# logical_volume NAME FILE: writes the extents that LVM reports for vg0/NAME and fills them.
logical_volume() {
    volume "$2" "vg0/$1"
    local extent_size
    extent_size=$(lvm_report vgs -o vg_extent_size vg0 | tr -d ' ')
    lvm_report lvs --segments -o segtype,seg_start_pe,seg_size_pe,stripe_size,devices "vg0/$1" |
        while read -r type start count stripe devices; do
            local base=() part
            for part in ${devices//,/ }; do
                local device=${part%(*} pe=${part#*(}
                pe=${pe%")"}
                local pe_start
                pe_start=$(lvm_report pvs -o pe_start "$device" | tr -d ' ')
                base+=($((offset_of[$device] + pe_start + pe * extent_size)))
            done
            segment_extents "$type" $((start * extent_size)) $((count * extent_size)) "$stripe" "${base[@]}"
        done
    fill_volume "$directory/$2"
}

# segment_extents TYPE VOLUME-OFFSET LENGTH STRIPE BASE...
segment_extents() {
    local type=$1 at=$2 length=$3 stripe=$4
    shift 4
    local base=("$@") width=$# n
    if [ "$type" = linear ]; then
        extent "${base[0]}" "$at" "$length"
        return
    fi
    for ((n = 0; n < length / stripe; n++)); do
        extent $((base[n % width] + n / width * stripe)) $((at + n * stripe)) "$stripe"
    done
}

lvm_structures() {
    local loop
    for loop in "${loops[@]}"; do
        structure lvm-metadata $((offset_of[$loop] + 512)) 512
        structure lvm-metadata $((offset_of[$loop] + 4096)) 512
    done
}

# A small second file system, for disks with more than one.
second_volume() {
    truncate -s 16M "$directory/second.img"
    mke2fs -q -F -t ext4 -b 1024 -d "$here" "$directory/second.img"
}

# The disk itself is the physical volume.
place_lvm() {
    lvm_setup
    truncate -s $((volume_bytes + 16 * 1048576)) "$disk"
    echo "image disk.img" >"$manifest"
    physical_volume 0 "$(stat -c %s "$disk")"
    lvm_configure
    lvm_run pvcreate "${loops[@]}"
    lvm_run vgcreate vg0 "${loops[@]}"
    lvm_create -L "${volume_bytes}b" -n root vg0
    logical_volume root volume.img
    lvm_structures
}

# GPT; a volume in three segments with another's between them.
place_lvm-linear() {
    lvm_setup
    lvm_partitions 1
    lvm_create -L 16m -n root vg0
    lvm_create -l 2 -n home vg0
    lvm_run lvextend -L +16m vg0/root
    lvm_run lvextend -l +2 vg0/home
    lvm_run lvextend -L "${volume_bytes}b" vg0/root
    second_volume
    logical_volume root volume.img
    logical_volume home second.img
    lvm_structures
    gpt_structures
}

# GPT; two physical volumes on the one disk, a volume striped over them, and another that is linear.
place_lvm-striped() {
    lvm_setup
    lvm_partitions 2
    lvm_create -l 3 -n pad vg0 "${loops[1]}"
    lvm_create --stripes 2 --stripesize 16k -L "${volume_bytes}b" -n root vg0
    lvm_create -L 16m -n home vg0
    second_volume
    logical_volume root volume.img
    logical_volume home second.img
    lvm_structures
    gpt_structures
}

# lvm_partitions COUNT: a GPT disk with COUNT physical volumes in vg0.
lvm_partitions() {
    local size=$((volume_bytes / 1048576 + 48)) n offset length script=$'label: gpt\n'
    truncate -s $(((size * $1 + 16) * 1048576)) "$disk"
    for ((n = 0; n < $1; n++)); do
        script+="size=$(sectors $size), type=E6D6D379-F507-44C2-A23C-238F2A3DF928"$'\n'
    done
    table=$disk
    sfdisk --quiet "$table" <<<"$script"
    echo "image disk.img" >"$manifest"
    structure partition-table 0 512
    for ((n = 1; n <= $1; n++)); do
        read -r offset length <<<"$(partition "$n")"
        physical_volume "$offset" "$length"
    done
    lvm_configure
    lvm_run pvcreate "${loops[@]}"
    lvm_run vgcreate vg0 "${loops[@]}"
}

# vmdk_from SUBFORMAT IMAGE: the disk of place_mbr as VMDK.
vmdk_from() {
    image=$2
    place_mbr
    qemu-img convert -f raw -O vmdk -o "subformat=$1" "$disk" "$directory/disk.vmdk"
    rm "$disk"
}

place_vmdk() { vmdk_from monolithicFlat disk.vmdk; }
place_vmdk-flat() { vmdk_from monolithicFlat disk-flat.vmdk; rm "$directory/disk.vmdk"; }

# The file system crosses from the first extent file, of 2 GiB, to the second.
place_vmdk-split() {
    disk_bytes=$((2200 * 1048576)) mbr_start=$((2028 * 2048))
    vmdk_from twoGbMaxExtentFlat disk.vmdk
}
