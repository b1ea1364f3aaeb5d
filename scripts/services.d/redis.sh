# shellcheck shell=bash
# A single server, a cluster of three, and a primary with replica and sentinel.

redis_answers() {
    # "+PONG"; or "-NOAUT", "-ERR o": also somebody who knows the protocol.
    [[ $(ask "$1" "$2" 'PING\r\n' 5) =~ ^(2b504f4e47|2d4e4f4155|2d45525220)$ ]]
}

# Starts the server of configuration $1, which is stdin unless it is there already.
launch_redis_server() {
    local name=$1 program=$2
    if [ ! -e "$dir/$name.conf" ]; then
        (
            umask 077
            exec >"$dir/$name.conf"
            cat <<CONF
port $(port "$name")
bind 127.0.0.1 -::1
dir "$dir/$name"
# The command line stays as it is: by it the process is known to be of this folder.
set-proc-title no
CONF
            cat
        )
    fi
    mkdir -p "$dir/$name"
    spawn "$name" "$program" "$dir/$name.conf"
}

# Nothing is kept on disk: what Waypost has in Redis may be lost at any time.
redis_common='save ""
appendonly no
shutdown-timeout 1'

launch_redis() {
    launch_redis_server redis redis-server <<CONF
$redis_common
tls-port $(port redis-tls)
tls-cert-file "$dir/tls/server.pem"
tls-key-file "$dir/tls/server.key"
tls-ca-cert-file "$dir/tls/ca.pem"
tls-auth-clients no
user $user on >$password ~* &* +@all
CONF
}

await_redis() { await redis 60 redis_answers 127.0.0.1 "$(port redis)"; }

launch_redis-cluster() {
    local name
    for name in $(processes redis-cluster); do
        pid_of "$name" >/dev/null || launch_redis_server "$name" redis-server <<CONF
$redis_common
cluster-enabled yes
cluster-port $(port "redis-cluster-bus-${name##*-}")
cluster-node-timeout 5000
CONF
    done
}

cluster_says() { redis-cli -p "$(port "$1")" cluster info 2>/dev/null | tr -d '\r' | grep -qx "$2"; }

await_redis-cluster() {
    local name nodes=()
    for name in $(processes redis-cluster); do
        await "$name" 60 redis_answers 127.0.0.1 "$(port "$name")"
        nodes+=("127.0.0.1:$(port "$name")")
    done
    # Only nodes that have never met; those that have find each other again.
    if cluster_says redis-cluster-1 cluster_known_nodes:1 && cluster_says redis-cluster-1 cluster_slots_assigned:0; then
        redis-cli --cluster create "${nodes[@]}" --cluster-replicas 0 --cluster-yes \
            >>"$dir/redis-cluster-1.log" 2>&1 || {
            show_log redis-cluster-1
            fail 1 "the Redis cluster could not be made"
        }
    fi
    for name in $(processes redis-cluster); do await "$name" 60 cluster_says "$name" cluster_state:ok; done
}

# The sentinel rewrites the configurations when the primary changes, so that each keeps its role over restarts.
launch_redis-sentinel() {
    pid_of redis-primary >/dev/null || launch_redis_server redis-primary redis-server <<CONF
$redis_common
repl-diskless-sync-delay 0
CONF
    pid_of redis-replica >/dev/null || launch_redis_server redis-replica redis-server <<CONF
$redis_common
repl-diskless-sync-delay 0
replicaof 127.0.0.1 $(port redis-primary)
CONF
    pid_of redis-sentinel >/dev/null || launch_redis_server redis-sentinel redis-sentinel <<CONF
sentinel monitor waypost 127.0.0.1 $(port redis-primary) 1
sentinel down-after-milliseconds waypost 1000
sentinel failover-timeout waypost 3000
CONF
}

# Whether it could take the replica, should the primary fail.
sentinel_sees_replica() {
    redis-cli -p "$(port redis-sentinel)" sentinel replicas waypost 2>/dev/null |
        grep -A 1 -x flags | grep -qx slave &&
        redis-cli -p "$(port redis-sentinel)" sentinel ckquorum waypost 2>/dev/null | grep -q ^OK
}

await_redis-sentinel() {
    local name
    for name in $(processes redis-sentinel); do await "$name" 60 redis_answers 127.0.0.1 "$(port "$name")"; done
    await redis-sentinel 60 sentinel_sees_replica
}
