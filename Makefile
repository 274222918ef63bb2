# Debian packages: what the build needs, then what the tests and the demo need.
PACKAGES = attr libext2fs-dev libfuse3-dev libtirpc-dev nettle-dev pkg-config zlib1g-dev \
	e2fsprogs fdisk fuse3 iproute2 kmod libnfs-utils lvm2 nfs-common nfs-ganesha nfs-ganesha-vfs \
	procps qemu-block-extra qemu-utils rpcbind rpcsvc-proto user-mode-linux util-linux xfsprogs

.PHONY: deps build demo test fuzz lint clean

# Installs what is missing; when nothing is, it neither needs root nor asks the network.
deps:
	@missing=$$(for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
		echo installing $$missing; \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $$missing; \
	fi

build: deps
	swift build

demo: deps
	swift build -c release
	"$$(swift build -c release --show-bin-path)/introspect-bench" demo

# Many tests need root: loop devices, mounts, network namespaces. Without it they would be left out in silence.
# SunRPC's tests watch the clock, and run when no others keep all threads busy.
test: deps
	@[ "$$(id -u)" = 0 ] || { echo "make test needs root" >&2; exit 1; }
	swift build --build-tests
	swift test --skip-build --skip SunRPCTests
	swift test --skip-build --filter SunRPCTests

# Runs every fuzzer for so long, one after the other.
SECONDS = 60
fuzz: deps
	@set -e; for directory in Fuzz/Sources/*; do \
		echo "$${directory##*/}"; Fuzz/run "$${directory##*/}" $(SECONDS); \
	done

lint:
	swift format lint --strict -r Package.swift Sources Tests Fuzz bench

clean:
	swift package clean
