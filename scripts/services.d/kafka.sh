# shellcheck shell=bash
# One broker that is its own controller.

# A metadata request, version 1, for no topic: the answer's brokers are those that take requests.
kafka_answers() {
    local answer
    answer=$(ask "$1" "$2" '\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0' 12) || true
    [ "${answer:8:8}" = 00000001 ] && [ "${#answer}" -eq 24 ] && [ "${answer:16:8}" != 00000000 ]
}

write_kafka_configuration() {
    local listener module=org.apache.kafka.common.security
    (umask 077 && : >"$dir/kafka.properties.part")
    cat >"$dir/kafka.properties.part" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$(port kafka-controller)
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/kafka

# BEHIND is for tests of cut lines: whoever connects there is sent on to the port of PROXY, where the test listens and
# passes on to BEHIND what it wants to pass.
listeners=CONTROLLER://127.0.0.1:$(port kafka-controller),\\
  PLAINTEXT://127.0.0.1:$(port kafka),\\
  SSL://127.0.0.1:$(port kafka-tls),\\
  SASL_PLAINTEXT://127.0.0.1:$(port kafka-sasl),\\
  SASL_SSL://127.0.0.1:$(port kafka-sasl-tls),\\
  MUTUAL://127.0.0.1:$(port kafka-mtls),\\
  BEHIND://127.0.0.1:$(port kafka-behind)
advertised.listeners=\\
  PLAINTEXT://127.0.0.1:$(port kafka),\\
  SSL://127.0.0.1:$(port kafka-tls),\\
  SASL_PLAINTEXT://127.0.0.1:$(port kafka-sasl),\\
  SASL_SSL://127.0.0.1:$(port kafka-sasl-tls),\\
  MUTUAL://127.0.0.1:$(port kafka-mtls),\\
  BEHIND://127.0.0.1:$(port kafka-proxy)
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,\\
  SASL_SSL:SASL_SSL,MUTUAL:SSL,BEHIND:PLAINTEXT

ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server-with-key.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
ssl.client.auth=none
listener.name.mutual.ssl.client.auth=required

sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
CONF
    for listener in sasl_plaintext sasl_ssl; do
        cat >>"$dir/kafka.properties.part" <<CONF
listener.name.$listener.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_$user="$password";
listener.name.$listener.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.$listener.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
CONF
    done
    cat >>"$dir/kafka.properties.part" <<'CONF'

# One broker has nobody to replicate to.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# A killed broker may come back when its old session is over, which would take 9 s. A machine that stands still for
# longer than this puts its own broker out.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500

auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# The usual 128 MiB would be a quarter of the heap.
log.cleaner.dedupe.buffer.size=16777216
CONF
    mv "$dir/kafka.properties.part" "$dir/kafka.properties"
    cat >"$dir/kafka.log4j2.properties" <<'CONF'
shutdownHook=disable
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %m (%c)%n%ex
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
CONF
}

launch_kafka() {
    local java run
    java=$(find_java) || fail 69 "there is no Java $java_least or newer"
    run=("$java" -Xms64m -Xmx512m -XX:+ExitOnOutOfMemoryError -cp "$jars/*"
        "-Dlog4j2.configurationFile=$dir/kafka.log4j2.properties")
    [ -e "$dir/kafka.properties" ] || write_kafka_configuration
    mkdir -p "$dir/kafka"
    if [ ! -e "$dir/kafka/meta.properties" ]; then
        # Without `-`: an id that began with it would be taken for an option.
        "${run[@]}" -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format --ignore-formatted \
            -t "$(openssl rand -base64 16 | tr '+/' 'a_' | tr -d '=')" -c "$dir/kafka.properties" \
            --add-scram "SCRAM-SHA-256=[name=$user,password=$password]" \
            --add-scram "SCRAM-SHA-512=[name=$user,password=$password]" >>"$dir/kafka.log" 2>&1 9>&- || {
            show_log kafka
            fail 1 "Kafka's folder could not be made"
        }
    fi
    spawn kafka "${run[@]}" kafka.Kafka "$dir/kafka.properties"
}

await_kafka() { await kafka 240 kafka_answers 127.0.0.1 "$(port kafka)"; }
