#!/usr/bin/env bash
# Starts a PostgreSQL server of docker-compose.cluster-postgres.yml: `postgres.sh primary` or `postgres.sh standby`.
# The first start of the primary creates the database and its roles, that of the standby copies the primary.
#
# The primary waits for the standby at each commit (synchronous_standby_names), so that a log-off that was
# acknowledged is at both. Without the standby it accepts no writes. It does not fail over by itself. By hand:
# stop the old primary, run `SELECT pg_promote()` at the standby, and start a standby of it at the old primary's
# place, with an empty volume, the argument standby and PRIMARY=postgres-2. Until that is there, the new primary
# accepts no writes. Production needs a cluster manager that fences, such as Patroni with synchronous_mode_strict
# and a watchdog, or a service such as RDS (docs/aws.md).
set -euo pipefail
umask 077
secrets="${SECRETS:-/run/secrets}"
run="${RUN:-/var/run/postgresql}" # a tmpfs: the socket, and the key
: "${PGDATA:?}" "${PRIMARY:=postgres-1}" "${PORT:=5432}"

# PostgreSQL refuses a key that others can read; Compose mounts secrets with the mode of their files.
cp "$secrets/postgres_key" "$run/postgres.key"
chmod 0600 "$run/postgres.key"
chmod 0700 "$PGDATA"

initialize() {
	initdb --pgdata "$PGDATA" --username postgres --pwfile "$secrets/postgres_superuser_password" --auth-local peer --auth-host scram-sha-256 --data-checksums
	cat >"$PGDATA/pg_hba.conf" <<-HBA
		local   all         postgres                                peer map=owner
		hostssl tokenbroker tokenbroker,tokenbroker_owner all       scram-sha-256
		hostssl replication replicator                    all       scram-sha-256
	HBA
	printf 'owner %s postgres\n' "$(id -un)" >"$PGDATA/pg_ident.conf"
	pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses='' -k $run" start
	# The brokers' role owns nothing; tokenbroker store init grants it what it needs.
	psql --host "$run" --username postgres --set ON_ERROR_STOP=1 --quiet <<-SQL
		\set broker \`cat $secrets/postgres_password\`
		\set owner \`cat $secrets/postgres_owner_password\`
		\set replication \`cat $secrets/postgres_replication_password\`
		CREATE ROLE tokenbroker LOGIN PASSWORD :'broker';
		CREATE ROLE tokenbroker_owner LOGIN PASSWORD :'owner';
		CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replication';
		CREATE DATABASE tokenbroker OWNER tokenbroker_owner;
		REVOKE ALL ON DATABASE tokenbroker FROM PUBLIC;
		GRANT CONNECT ON DATABASE tokenbroker TO tokenbroker;
		ALTER SYSTEM SET synchronous_standby_names = 'standby';
	SQL
	pg_ctl --pgdata "$PGDATA" --wait stop
	touch "$PGDATA/initialized"
}

case "${1:-}" in
primary)
	if [ ! -e "$PGDATA/initialized" ]; then
		find "$PGDATA" -mindepth 1 -delete # what a start that was interrupted left
		initialize
	fi
	;;
standby)
	if [ ! -e "$PGDATA/copied" ]; then
		until
			find "$PGDATA" -mindepth 1 -delete
			PGPASSWORD="$(cat "$secrets/postgres_replication_password")" pg_basebackup --pgdata "$PGDATA" --write-recovery-conf --wal-method stream --checkpoint fast \
				--dbname "host=$PRIMARY port=$PORT user=replicator application_name=standby sslmode=verify-full sslrootcert=$secrets/postgres_ca_cert"
		do sleep 1; done
		touch "$PGDATA/copied"
	fi
	;;
*)
	echo "usage: postgres.sh primary|standby" >&2
	exit 2
	;;
esac

exec postgres -D "$PGDATA" -k "$run" -p "${LISTEN_PORT:-$PORT}" -c listen_addresses="${LISTEN:-*}" -c wal_keep_size=1GB \
	-c ssl=on -c "ssl_cert_file=$secrets/postgres_cert" -c "ssl_key_file=$run/postgres.key"
