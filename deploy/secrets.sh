#!/usr/bin/env bash
# Creates the secrets of docker-compose.yml in deploy/secrets/, with the argument cluster also those of
# docker-compose.cluster.yml and docker-compose.cluster-postgres.yml, each only if it is missing:
# it can be run again and never changes existing ones. To replace a secret, remove its file, and
# also nats.env if it was a password of NATS, run this again and restart the containers.
#
# The files are 0644 in a directory that is 0700. Compose mounts a file as it is, owner and
# mode included, and the processes in the containers are not you (the broker is uid 65532,
# Prometheus 65534), so the files have to be readable by others. The directory keeps the other
# users of this machine away from them; a mounted file is accessed without its directory.
set -euo pipefail
umask 077
dir="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/secrets"
mkdir -p "$dir"
chmod 0700 "$dir"

random() { head -c "$1" /dev/urandom; }
hex() { random 32 | od -An -v -tx1 | tr -d ' \n'; }
# nats.conf parses a variable like its own text: the letter in front keeps a password a
# string if its digits would form a number.
natspassword() { printf 'p%s' "$(hex)"; }
# The admin listener's certificate, for the name that Prometheus uses: self-signed, so it is its
# own authority. To renew it, remove admin_tls_cert, run this again and restart the containers.
command -v openssl >/dev/null || { echo "openssl is needed for the admin listener's certificate: install it" >&2; exit 1; }
tlskey() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256; }
tlscert() { openssl req -x509 -key "$dir/admin_tls_key" -days 3650 -subj /CN=broker -addext subjectAltName=DNS:broker; }
# The key encryption key: 32 bytes in base64.
kek() { random 32 | base64 | tr -d '\n'; }

# make NAME COMMAND...: writes the output of the command to the file, atomically.
make() {
	local name="$1" new
	shift
	if [ -s "$dir/$name" ]; then
		return
	fi
	new="$(mktemp "$dir/.new.XXXXXX")"
	"$@" >"$new"
	chmod 0644 "$new"
	mv "$new" "$dir/$name"
	echo "made deploy/secrets/$name"
}

make kek kek
make admin_token hex
make metrics_token hex
make admin_tls_key tlskey
make admin_tls_cert tlscert
make service_a_secret hex
make service_b_secret hex
for user in broker service_a service_b; do
	make "nats_${user}_password" natspassword
done

# The same passwords for the NATS server, which reads them from its environment.
natsenv() {
	local user
	for user in broker service_a service_b; do
		printf 'NATS_%s_PASSWORD=%s\n' "$(tr '[:lower:]' '[:upper:]' <<<"$user")" "$(cat "$dir/nats_${user}_password")"
	done
}
make nats.env natsenv
if [ "$(natsenv)" != "$(cat "$dir/nats.env")" ]; then
	echo "deploy/secrets/nats.env and the nats_*_password files differ: remove the one that is wrong and run this again" >&2
	exit 1
fi

case "${1:-}" in
"") exit 0 ;;
cluster) ;;
*) echo "usage: deploy/secrets.sh [cluster]" >&2; exit 2 ;;
esac

# key NAME, and signed NAME AUTHORITY SUBJECT USAGE SUBJECT-ALT-NAMES: a private key, and a certificate for
# it that the authority signs. To renew a certificate, remove it and run this again.
key() { make "$1_key" tlskey; }
selfsigned() { openssl req -x509 -key "$dir/$1_key" -days 3650 -subj "/CN=$2" -addext "$3"; }
signed() {
	openssl req -x509 -key "$dir/$1_key" -CA "$dir/$2_cert" -CAkey "$dir/$2_key" -days 3650 -subj "/CN=$3" \
		-addext basicConstraints=critical,CA:FALSE -addext "extendedKeyUsage=$4" ${5:+-addext "subjectAltName=$5"}
}

# The brokers' admin listeners, for the names that Prometheus uses; those of pods are for deploy/kubernetes.
key brokers_tls
pods='DNS:*.tokenbroker-pods,DNS:*.tokenbroker-pods.tokenbroker.svc'
make brokers_tls_cert selfsigned brokers_tls brokers "subjectAltName=DNS:broker-1,DNS:broker-2,DNS:broker-3,$pods,DNS:localhost,IP:127.0.0.1"

# The authority of etcd. It signs for nothing else, because a program that has one of its certificates can read and change
# every session. Its key is not mounted.
key etcd_ca
make etcd_ca_cert selfsigned etcd_ca "etcd of tokenbroker" keyUsage=critical,keyCertSign
for i in 1 2 3; do
	key "etcd_$i"
	make "etcd_${i}_cert" signed "etcd_$i" etcd_ca etcd-member serverAuth,clientAuth "DNS:etcd-$i,DNS:localhost,IP:127.0.0.1"
done
key etcd_client
make etcd_client_cert signed etcd_client etcd_ca tokenbroker clientAuth

# The routes between the NATS servers: deploy/cluster/nats.conf includes the file.
make nats_route_password natspassword
natsroutes() {
	local password i
	password="$(cat "$dir/nats_route_password")"
	printf 'authorization { user: route, password: "%s" }\nroutes: [\n' "$password"
	for i in 1 2 3; do printf '  "nats-route://route:%s@nats-%s:6222"\n' "$password" "$i"; done
	printf ']\n'
}
make nats_routes natsroutes

# PostgreSQL: an authority for the two servers, and a password for each role.
key postgres_ca
make postgres_ca_cert selfsigned postgres_ca "PostgreSQL of tokenbroker" keyUsage=critical,keyCertSign
for i in 1 2; do
	key "postgres_$i"
	make "postgres_${i}_cert" signed "postgres_$i" postgres_ca "postgres-$i" serverAuth "DNS:postgres-$i,DNS:localhost,IP:127.0.0.1"
done
for role in password owner_password superuser_password replication_password; do
	make "postgres_$role" hex
done
