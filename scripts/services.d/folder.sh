# shellcheck shell=bash
# A folder with its ports, its password and its certificates.

# Below the ports that the system gives to outgoing connections (32768 and above).
first_base=20000
last_base=31980
block=20

# The ports of a folder count from its base.
port() {
    local offset
    case "$1" in
        kafka) offset=0 ;;
        kafka-tls) offset=1 ;;
        kafka-sasl) offset=2 ;;
        kafka-sasl-tls) offset=3 ;;
        kafka-mtls) offset=4 ;;
        kafka-behind) offset=5 ;;
        kafka-proxy) offset=6 ;;
        kafka-controller) offset=7 ;;
        redis) offset=8 ;;
        redis-tls) offset=9 ;;
        postgres) offset=10 ;;
        redis-cluster-[123]) offset=$((10 + ${1##*-})) ;;
        redis-cluster-bus-[123]) offset=$((13 + ${1##*-})) ;;
        redis-primary) offset=17 ;;
        redis-replica) offset=18 ;;
        redis-sentinel) offset=19 ;;
    esac
    echo $((base + offset))
}

# The names of the ports on which a process listens.
ports_of() {
    case "$1" in
        kafka)
            echo kafka kafka-tls kafka-sasl kafka-sasl-tls kafka-mtls kafka-behind kafka-controller
            ;;
        redis) echo redis redis-tls ;;
        redis-cluster-?) echo "$1" "redis-cluster-bus-${1##*-}" ;;
        *) echo "$1" ;;
    esac
}

# The local ports of all TCP sockets in state $1 (a pattern), in hexadecimal, with a space before and after each.
used_ports() {
    awk -v state="$1" 'BEGIN { printf " " } FNR > 1 && $4 ~ state { n = split($2, a, ":"); printf "%s ", a[n] }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Somebody else's server on a port of ours would be taken for the one that is about to start.
await_free_ports() {
    local name port used end=$((SECONDS + 5))
    for name in $(ports_of "$1"); do
        port=$(port "$name")
        while used=$(used_ports 0A) && [[ $used == *" $(printf %04X "$port") "* ]]; do
            [ $SECONDS -lt $end ] || fail 69 "somebody else listens on port $port, which is for $1"
            sleep 0.05
        done
    done
}

# Chooses a block of ports in which nothing listens and that no other folder has.
choose_base() {
    local used candidate port claim
    exec 8>"$home/ports.lock"
    flock 8
    used=$(used_ports .)
    candidate=$((first_base + RANDOM % ((last_base - first_base) / block) * block))
    for ((tried = 0; tried * block < last_base - first_base; tried++)); do
        candidate=$((candidate + block))
        [ "$candidate" -le "$last_base" ] || candidate=$first_base
        # A claim names its folder, and holds as long as that folder has this base.
        if claim=$(cat "$home/$candidate" 2>/dev/null) && [ "$(cat "$claim/base" 2>/dev/null)" = "$candidate" ]; then
            continue
        fi
        for ((port = candidate; port < candidate + block; port++)); do
            [[ $used == *" $(printf %04X "$port") "* ]] && continue 2
        done
        base=$candidate
        printf '%s\n' "$dir" >"$home/$base"
        printf '%s\n' "$base" >"$dir/base"
        exec 8>&-
        return
    done
    fail 69 "no $block free ports in a row from $first_base to $last_base; say --port"
}

# Reads what the folder keeps.
read_folder() {
    [ -e "$dir/base" ] && [ -e "$dir/password" ] || return 1
    base=$(cat "$dir/base")
    password=$(cat "$dir/password")
}

lock_folder() {
    exec 9>"$dir/.lock"
    flock -w 300 9 || fail 1 "another scripts/services has been busy with $dir for 5 minutes"
}

# A new folder may hold anything but what will be ours to change and to remove; an empty place for it, such as a
# mounted disk, is fine.
refuse_foreign_files() {
    local part name
    for part in "${everything[@]}"; do
        for name in $(processes "$part"); do
            [ -z "$(ls -A "$dir/$name" 2>/dev/null)" ] || fail 64 "$dir/$name is in the way; take another --dir"
        done
    done
    [ ! -e "$dir/tls" ] || fail 64 "$dir/tls is in the way; take another --dir"
}

# Makes the folder, or takes the one that is there, for this process alone.
open_folder() {
    mkdir -p "$dir"
    lock_folder
    [ -e "$dir/base" ] || refuse_foreign_files
    if [ -e "$dir/base" ]; then
        base=$(cat "$dir/base")
        [ -z "$wanted_base" ] || [ "$wanted_base" = "$base" ] ||
            fail 64 "$dir has the ports from $base; stop it with --clean to give it those from $wanted_base"
    elif [ -n "$wanted_base" ]; then
        base=$wanted_base
        printf '%s\n' "$dir" >"$home/$base"
        printf '%s\n' "$base" >"$dir/base"
    else
        choose_base
    fi
    [ -e "$dir/password" ] || (umask 077 && openssl rand -hex 12 >"$dir/password")
    password=$(cat "$dir/password")
    [ -e "$dir/tls/done" ] || make_certificates
}

# One authority that signs a server and a client, and another one that signed neither.
make_certificates() {
    local tls="$dir/tls"
    rm -rf "$tls"
    mkdir "$tls"
    cat >"$tls/openssl.cnf" <<'CONF'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
CONF
    (
        cd "$tls"
        umask 077
        new=(openssl req -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
        for ca in ca wrong-ca; do
            "${new[@]}" -x509 -extensions ca -days 3650 -subj "/CN=Waypost test $ca" -keyout $ca.key -out $ca.pem
        done
        for role in server client; do
            "${new[@]}" -subj "/CN=$role.waypost.test" -keyout $role.key -out $role.csr
            openssl x509 -req -in $role.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -sha256 \
                -extfile openssl.cnf -extensions $role -out $role.pem
        done
        # What Kafka wants in one file.
        cat server.key server.pem ca.pem >server-with-key.pem
        chmod 644 ca.pem wrong-ca.pem server.pem client.pem
    ) >"$dir/tls.log" 2>&1 || {
        cat "$dir/tls.log" >&2
        fail 1 "openssl could not make the certificates"
    }
    touch "$tls/done"
}
