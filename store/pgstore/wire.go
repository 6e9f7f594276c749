package pgstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// binaryFormat is the format of all parameters and results.
var binaryFormat = []int16{pgx.BinaryFormatCode}

// args are the parameters of a statement.
type args struct {
	values [][]byte
	oids   []uint32
}

func (a *args) add(oid uint32, value []byte) {
	a.oids, a.values = append(a.oids, oid), append(a.values, value)
}

func (a *args) int(n int64) { a.add(pgtype.Int8OID, binary.BigEndian.AppendUint64(nil, uint64(n))) }

func (a *args) int32(n int32) { a.add(pgtype.Int4OID, binary.BigEndian.AppendUint32(nil, uint32(n))) }

func (a *args) bool(b bool) {
	value := []byte{0}
	if b {
		value[0] = 1
	}
	a.add(pgtype.BoolOID, value)
}

// bytes adds a byte string, or NULL if it is nil.
func (a *args) bytes(b []byte) { a.add(pgtype.ByteaOID, b) }

func (a *args) text(s string) { a.add(pgtype.TextOID, []byte(s)) }

// array is an array of a parameter.
type array struct {
	of      uint32 // the type of an element
	n       int
	hasNull bool
	data    []byte
}

func (a *array) bytes(b []byte) {
	a.n++
	a.data = append(binary.BigEndian.AppendUint32(a.data, uint32(len(b))), b...)
}

func (a *array) null() {
	a.n++
	a.hasNull = true
	a.data = append(a.data, 0xff, 0xff, 0xff, 0xff)
}

func (a *array) int(n int64) {
	a.n++
	a.data = binary.BigEndian.AppendUint64(append(a.data, 0, 0, 0, 8), uint64(n))
}

func (a *array) int32(n int32) {
	a.n++
	a.data = binary.BigEndian.AppendUint32(append(a.data, 0, 0, 0, 4), uint32(n))
}

// Types of elements.
const (
	bytea   = pgtype.ByteaOID
	bigint  = pgtype.Int8OID
	integer = pgtype.Int4OID
)

// arrayOIDs are the types of arrays by that of their elements.
var arrayOIDs = map[uint32]uint32{bytea: pgtype.ByteaArrayOID, bigint: pgtype.Int8ArrayOID, integer: pgtype.Int4ArrayOID}

func (a *args) array(of *array) {
	head := make([]byte, 0, 20+len(of.data))
	dimensions, nulls := uint32(1), uint32(0)
	if of.n == 0 {
		dimensions = 0
	}
	if of.hasNull {
		nulls = 1
	}
	head = binary.BigEndian.AppendUint32(head, dimensions)
	head = binary.BigEndian.AppendUint32(head, nulls)
	head = binary.BigEndian.AppendUint32(head, of.of)
	if of.n > 0 {
		head = binary.BigEndian.AppendUint32(head, uint32(of.n))
		head = binary.BigEndian.AppendUint32(head, 1)
	}
	a.add(arrayOIDs[of.of], append(head, of.data...))
}

// int64Of decodes a result; NULL is zero.
func int64Of(value []byte) int64 {
	switch len(value) {
	case 8:
		return int64(binary.BigEndian.Uint64(value))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(value)))
	}
	return 0
}

// int32sOf decodes an array of integers; NULL is empty.
func int32sOf(value []byte) (list []int32) {
	for at := 20; at+8 <= len(value); at += 8 {
		list = append(list, int32(binary.BigEndian.Uint32(value[at+4:])))
	}
	return list
}

// conn is a connection on which query sends first before its next statement, in the same round trip, unless first is empty. If prepares
// is true, query prepares each statement once, which saves the server more than half of the time of a read.
type conn struct {
	*pgconn.PgConn
	first    string
	prepares bool
}

// query sends one statement, in one round trip unless it prepares it, and calls row for each row of the result, whose values
// are valid until it returns.
func query(ctx context.Context, c *conn, sql string, a args, row func(values [][]byte) error) error {
	name := ""
	if c.prepares {
		var err error
		if name, err = prepare(ctx, c.PgConn, sql, a.oids); err != nil {
			return err
		}
	}
	switch {
	case c.first != "":
		return queryAfter(ctx, c, name, sql, a, row)
	case name != "":
		return rows(c.ExecPrepared(ctx, name, a.values, binaryFormat, binaryFormat), row)
	}
	return rows(c.ExecParams(ctx, sql, a.values, a.oids, binaryFormat, binaryFormat), row)
}

// queryAfter sends the statement together with the one before it.
func queryAfter(ctx context.Context, c *conn, name, sql string, a args, row func(values [][]byte) error) error {
	var batch pgconn.Batch
	batch.ExecParams(c.first, nil, nil, nil, nil)
	if name != "" {
		batch.ExecPrepared(name, a.values, binaryFormat, binaryFormat)
	} else {
		batch.ExecParams(sql, a.values, a.oids, binaryFormat, binaryFormat)
	}
	results := c.ExecBatch(ctx, &batch)
	c.first = ""
	var failed error
	for i := 0; results.NextResult(); i++ {
		if i == 1 {
			failed = rows(results.ResultReader(), row)
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	return failed
}

// statementNames is the key of a connection's data that has the names of its prepared statements.
const statementNames = "statements"

// prepare returns the name of a statement, which it prepares if the connection does not have it.
func prepare(ctx context.Context, c *pgconn.PgConn, sql string, oids []uint32) (string, error) {
	names, _ := c.CustomData()[statementNames].(map[string]string)
	if names == nil {
		names = make(map[string]string)
		c.CustomData()[statementNames] = names
	}
	if name, ok := names[sql]; ok {
		return name, nil
	}
	name := fmt.Sprintf("tokenbroker_%d", len(names))
	if _, err := c.Prepare(ctx, name, sql, oids); err != nil {
		return "", err
	}
	names[sql] = name
	return name, nil
}

func rows(result *pgconn.ResultReader, row func(values [][]byte) error) error {
	var failed error
	for result.NextRow() {
		if failed == nil {
			failed = row(result.Values())
		}
	}
	if _, err := result.Close(); err != nil {
		return err
	}
	return failed
}
