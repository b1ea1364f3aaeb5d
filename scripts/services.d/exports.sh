# shellcheck shell=bash
# What start and status print, and what is already exported.

# Quoted only where a shell needs it, so that programs can read the lines as well.
put() {
    local value=$2 quote
    if [[ ! $value =~ ^[A-Za-z0-9_./:@,+-]+$ ]]; then
        quote="'\\''"
        value="'${value//"'"/$quote}'"
    fi
    printf 'export WAYPOST_TEST_%s=%s\n' "$1" "$value"
}

# The exports of a part that runs in this folder.
put_part() {
    case "$1" in
        kafka)
            put KAFKA "127.0.0.1:$(port kafka)"
            put KAFKA_TLS "127.0.0.1:$(port kafka-tls)"
            put KAFKA_SASL "127.0.0.1:$(port kafka-sasl)"
            put KAFKA_SASL_TLS "127.0.0.1:$(port kafka-sasl-tls)"
            put KAFKA_MTLS "127.0.0.1:$(port kafka-mtls)"
            put KAFKA_BEHIND "127.0.0.1:$(port kafka-behind)"
            put KAFKA_PROXY "127.0.0.1:$(port kafka-proxy)"
            put SASL_USER "$user"
            put SASL_PASSWORD "$password"
            put CLIENT_CERTIFICATE "$dir/tls/client.pem"
            put CLIENT_KEY "$dir/tls/client.key"
            ;;
        redis)
            put REDIS "redis://127.0.0.1:$(port redis)"
            put REDIS_TLS "rediss://localhost:$(port redis-tls)"
            put REDIS_USER "redis://$user:$password@127.0.0.1:$(port redis)"
            ;;
        postgres)
            put POSTGRES "postgres://$user:$password@127.0.0.1:$(port postgres)/$user"
            ;;
        redis-cluster)
            put REDIS_CLUSTER "redis+cluster://$(
                printf '127.0.0.1:%s,127.0.0.1:%s,127.0.0.1:%s' \
                    "$(port redis-cluster-1)" "$(port redis-cluster-2)" "$(port redis-cluster-3)"
            )"
            ;;
        redis-sentinel)
            put REDIS_SENTINEL "redis+sentinel://127.0.0.1:$(port redis-sentinel)/waypost"
            ;;
    esac
}

put_folder() {
    put CA "${1:-$dir/tls/ca.pem}"
    put WRONG_CA "$dir/tls/wrong-ca.pem"
    put SERVICES_DIR "$dir"
}

# The variables of a part, without their common beginning.
names_of() {
    case "$1" in
        kafka)
            echo KAFKA KAFKA_TLS KAFKA_SASL KAFKA_SASL_TLS KAFKA_MTLS KAFKA_BEHIND KAFKA_PROXY SASL_USER SASL_PASSWORD \
                CLIENT_CERTIFICATE CLIENT_KEY
            ;;
        redis) echo REDIS REDIS_TLS REDIS_USER ;;
        postgres) echo POSTGRES ;;
        redis-cluster) echo REDIS_CLUSTER ;;
        redis-sentinel) echo REDIS_SENTINEL ;;
    esac
}

# The host and the port at the beginning of an address or of a URL.
first_host() {
    local address=${1#*://}
    address=${address##*@}
    address=${address%%/*}
    address=${address%%,*}
    [[ $address == *:* ]] && echo "${address%:*}" "${address##*:}"
}

# Whether a part's exported address answers. PostgreSQL's "SSL request" is answered with S or N.
exported_answers() {
    local name host port variable
    read -r name _ <<<"$(names_of "$1")"
    variable="WAYPOST_TEST_$name"
    [ -n "${!variable:-}" ] || return 1
    read -r host port <<<"$(first_host "${!variable}")"
    case "$1" in
        kafka) kafka_answers "$host" "$port" ;;
        postgres) [[ $(ask "$host" "$port" '\0\0\0\010\004\322\026\057' 1) =~ ^(53|4e)$ ]] ;;
        *) redis_answers "$host" "$port" ;;
    esac || {
        say "$variable is set, but nobody answers there"
        return 1
    }
}

put_exported() {
    local name variable
    for name in "$@"; do
        variable="WAYPOST_TEST_$name"
        [ -z "${!variable:-}" ] || put "$name" "${!variable}"
    done
}
