package main

import (
	"testing"

	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore"
	"tokenbroker/store/pgstore/pgtest"
)

// TestAKilledRestoreIntoEtcd restores into another prefix of the same members.
func TestAKilledRestoreIntoEtcd(t *testing.T) {
	longtest.SkipShort(t, "starts a broker and three etcd members")
	b := newEtcdBrokers(t)
	const key, prefix = "store.etcd.prefix", "tokenbroker-2/"
	b.killRestore(t, b.openAt(t, b.config, key, "tokenbroker/"), b.openAt(t, b.config, key, prefix), key, prefix)
}

// TestAKilledRestoreIntoPostgres restores into another schema of the same database.
func TestAKilledRestoreIntoPostgres(t *testing.T) {
	longtest.SkipShort(t, "starts a broker and two PostgreSQL servers")
	b := newPostgresBrokers(t, pgtest.Start(t))
	const key, schema = "store.postgres.schema", "tokenbroker2"
	b.initStore(t)
	if err := pgstore.Init(t.Context(), pgstore.Config{URL: b.ownerURL, Schema: schema}, brokerRole); err != nil {
		t.Fatal(err)
	}
	b.killRestore(t, b.openAt(t, b.config, key, "tokenbroker"), b.openAt(t, b.config, key, schema), key, schema)
}
