package load

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm sleeps with a precision of about 50 µs, where [time.Sleep] may be up to a millisecond late.
// Its timer is a file that the runtime polls like a socket. It is not safe for concurrent use.
type alarm struct {
	file *os.File // nil if the kernel does not have this timer
	fd   int
}

func newAlarm() *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &alarm{}
	}
	return &alarm{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd}
}

func (a *alarm) sleep(d time.Duration) {
	if a.file == nil {
		time.Sleep(d)
		return
	}
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}
	if err := unix.TimerfdSettime(a.fd, 0, &once, nil); err != nil {
		time.Sleep(d)
		return
	}
	var expirations [8]byte
	if _, err := a.file.Read(expirations[:]); err != nil {
		time.Sleep(d)
	}
}

func (a *alarm) close() {
	if a.file != nil {
		_ = a.file.Close()
	}
}
