#!/usr/bin/env bash
# Creates the secrets of docker-compose.yml in deploy/secrets/, each only if it is missing:
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
