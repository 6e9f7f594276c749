package directory_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker/directory"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

func TestAClientCacheReturnsWhatIsOnRecord(t *testing.T) {
	s, cache := memstore.New(time.Now), directory.NewClientCache()
	if client, err := cache.Read(t.Context(), s, "a"); err != nil || client.ID != "" {
		t.Fatalf("%+v, %v for an unknown client", client, err)
	}
	put := func(value string) {
		t.Helper()
		if errs := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{{Key: directory.ClientKey("a"), Value: []byte(value), Blind: true}}}}, nil); errs[0] != nil {
			t.Fatal(errs)
		}
	}
	for _, c := range []directory.ClientRecord{
		{V: 1, ID: "a", Scopes: []string{"x"}}, {V: 1, ID: "a", Epoch: 7}, {V: 1, ID: "a", Removed: true}, {V: 1, ID: "a", Scopes: []string{"x"}},
	} {
		write, err := c.Write(0)
		if err != nil {
			t.Fatal(err)
		}
		put(string(write.Value))
		for range 2 {
			if got, err := cache.Read(t.Context(), s, "a"); err != nil || !cmp.Equal(got, c) {
				t.Errorf("%+v, %v; want %+v", got, err, c)
			}
		}
	}
	put(`{"v":99}`)
	if _, err := cache.Read(t.Context(), s, "a"); err == nil {
		t.Error("a record that cannot be read is not an error")
	}
}
