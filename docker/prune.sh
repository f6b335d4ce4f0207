#!/bin/sh
# Remove packages that only install or build software, and all caches, from an image's root (Debian, Python's layout).
set -eu
unwanted='^(apt|libapt-pkg.*|perl|perl-base|perl-modules.*|libperl.*|libgdbm.*|python3-(pip|setuptools|wheel|distutils|lib2to3)|python3\..*-venv)$'
installed=$(dpkg-query --show --showformat '${Package}\n' | grep -E "$unwanted" || true)
# shellcheck disable=SC2086 # one word for each package
[ -z "$installed" ] || dpkg --purge --force-depends --force-remove-essential --force-remove-protected $installed
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$library"/ensurepip "$library"/idlelib "$library"/lib2to3 "$library"/pydoc_data "$library"/test "$library"/tkinter \
    /usr/local/lib/python3*/site-packages/* /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* \
    /usr/local/include /usr/lib/python3/dist-packages/pip* /usr/share/python-wheels /usr/share/perl* /etc/apt /etc/pip.conf \
    /usr/share/man /usr/share/locale /usr/share/info /var/cache/* /var/lib/apt /var/log/*
find /usr/share/doc -type f ! -name copyright -delete
python3 -m compileall -q --invalidation-mode unchecked-hash "$library"
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
