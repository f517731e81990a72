#!/bin/sh
# Stands in front of a program; does what /run/trap says when the command line fits the pattern there, and that only once.
# The unit's own commands, whose parent is systemd, go through.
case ${0##*/} in
  docker) real=/usr/local/lib/docker-real ;;
  systemctl) real=/usr/bin/systemctl ;;
esac
if [ "$PPID" != 1 ] && [ -e /run/trap ]; then
  IFS='|' read -r when pattern < /run/trap
  # shellcheck disable=SC2254
  case "${0##*/} $*" in
    $pattern)
      rm /run/trap
      # A command with a time limit has timeout(1) as its parent, and the run as that one's.
      victim=$PPID
      [ "$(cat "/proc/$victim/comm")" != timeout ] || victim=$(cut -d ' ' -f 4 "/proc/$victim/stat")
      case $when in
        before) kill -9 "$victim" ;;
        after) "$real" "$@"; kill -9 "$victim" ;;
        hold) touch /run/held; while [ -e /run/held ]; do sleep 0.1; done ;;
      esac
      ;;
  esac
fi
exec "$real" "$@"
