# pl-platform with the network namespace "gateway" behind it; the namespace "stranger" on a network of its own, with a route here.
join() {
  ip netns add "$1"
  ip link add "to-$1" type veth peer name eth0 netns "$1"
  ip -n "$1" address add "$2" dev eth0
  ip -n "$1" link set eth0 up
  ip link set "to-$1" up
}

ip link add pl-platform type bridge
ip address add 10.89.64.1/24 dev pl-platform
ip link set pl-platform up
join gateway 10.89.64.9/24
ip link set to-gateway master pl-platform
join stranger 10.99.0.9/24
ip address add 10.99.0.1/24 dev to-stranger
ip -n stranger route add default via 10.99.0.1
