package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Mount is a directory of a volume in a machine.
type Mount struct {
	// Volume is an id. SubPath is the directory of the volume, made if it is missing; empty means all of it.
	Volume, SubPath string
	// Path is where the machine has it.
	Path     string
	ReadOnly bool
}

// Volumes keeps the contents of volumes in a directory of this computer. As at Modal, a machine sees what was committed before its
// program began, what it changes is committed once that has ended, and of two machines that change one file the last one wins. Only
// regular files and the directories that they are in are kept. It is safe for concurrent use.
type Volumes struct {
	dir string
	mu  sync.Mutex
}

// NewVolumes keeps volumes in dir, which is made when there is something to keep.
func NewVolumes(dir string) *Volumes { return &Volumes{dir: dir} }

// stamp tells whether a file has changed.
type stamp struct {
	size     int64
	modified time.Time
}

// mounted is a machine's own copy of a mount.
type mounted struct {
	Mount
	kept, copy string // directories
	before     map[string]stamp
}

// mount makes the machine's copies in dir. A nil Volumes has none to give.
func (v *Volumes) mount(mounts []Mount, dir string) ([]mounted, error) {
	if v == nil {
		return nil, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []mounted
	for _, m := range mounts {
		one := mounted{
			Mount: m, kept: filepath.Join(v.dir, m.Volume, filepath.Join("/", m.SubPath)), copy: filepath.Join(dir, "mounts", m.Path),
		}
		if err := errors.Join(os.MkdirAll(one.kept, 0o700), os.MkdirAll(one.copy, 0o700)); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Path, err)
		}
		var err error
		if one.before, err = list(one.kept); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Path, err)
		}
		for name := range one.before {
			if err := copyFile(filepath.Join(one.kept, name), filepath.Join(one.copy, name)); err != nil {
				return nil, fmt.Errorf("mount %s: %w", m.Path, err)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// commit keeps what the machine has changed.
func (v *Volumes) commit(all []mounted) error {
	if v == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range all {
		if m.ReadOnly {
			continue
		}
		if err := m.commit(); err != nil {
			return fmt.Errorf("commit %s: %w", m.Path, err)
		}
	}
	return nil
}

func (m mounted) commit() error {
	after, err := list(m.copy)
	if err != nil {
		return err
	}
	for name, now := range after {
		if m.before[name] == now {
			continue
		}
		if err := copyFile(filepath.Join(m.copy, name), filepath.Join(m.kept, name)); err != nil {
			return err
		}
	}
	for name := range m.before {
		if _, ok := after[name]; ok {
			continue
		}
		if err := os.Remove(filepath.Join(m.kept, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// inMounts are the variables with the machine's copies for what they say of mounts: it has no file system of its own in which a
// volume could be at its path.
func inMounts(env map[string]string, all []mounted) map[string]string {
	env = maps.Clone(env)
	for name, value := range env {
		for _, m := range all {
			if rest, ok := strings.CutPrefix(value, m.Path); ok && (rest == "" || rest[0] == '/') {
				env[name] = m.copy + rest
			}
		}
	}
	return env
}

// list has the regular files below dir.
func list(dir string) (map[string]stamp, error) {
	found := map[string]stamp{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found[name] = stamp{info.Size(), info.ModTime()}
		return err
	})
	return found, err
}

// copyFile replaces to, with the time of its last change.
func copyFile(from, to string) (err error) {
	source, err := os.Open(from) //nolint:gosec // in a directory of the simulator's own
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	target, err := os.CreateTemp(filepath.Dir(to), ".copy-")
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err := errors.Join(err, target.Chmod(info.Mode().Perm()), target.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(target.Name(), info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(target.Name(), to)
}
