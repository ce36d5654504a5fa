package catalog

import (
	"crypto/rand"
	"sync"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// idChars is the length of what follows the prefix in Modal's ids.
const idChars = 22

func newID(prefix string) string { return prefix + "-" + rand.Text()[:idChars] }

// Object is something that has an id, and a name unless it is ephemeral.
type Object[T any] struct {
	ID, Environment string
	Value           T
}

type scope struct{ environment, name string }

// Directory finds the objects of one kind. It is safe for concurrent use.
type Directory[T any] struct {
	kind, prefix string

	mu     sync.Mutex
	byID   map[string]Object[T]
	byName map[scope]string
}

func newDirectory[T any](kind, prefix string) *Directory[T] {
	return &Directory[T]{kind: kind, prefix: prefix, byID: map[string]Object[T]{}, byName: map[scope]string{}}
}

// GetOrCreate finds or makes an object as the creation type says. The errors are NOT_FOUND, ALREADY_EXISTS and
// INVALID_ARGUMENT.
func (d *Directory[T]) GetOrCreate(environment, name string, how pb.ObjectCreationType, value T) (Object[T], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := scope{environment, name}
	id, found := d.byName[key]
	switch how {
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED:
		if !found {
			return Object[T]{}, status.Errorf(codes.NotFound, "%s %q not found in environment %q", d.kind, name, environment)
		}
		return d.byID[id], nil
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
		if found {
			return d.byID[id], nil
		}
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
		if found {
			return Object[T]{}, status.Errorf(codes.AlreadyExists, "%s %q exists in environment %q", d.kind, name, environment)
		}
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_EPHEMERAL:
		id, key.name = "", ""
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP:
		return Object[T]{}, unknownCreation(how)
	default:
		return Object[T]{}, unknownCreation(how)
	}
	if key.name == "" && how != pb.ObjectCreationType_OBJECT_CREATION_TYPE_EPHEMERAL {
		return Object[T]{}, status.Errorf(codes.InvalidArgument, "name of a new %s: must not be empty (got %q)", d.kind, name)
	}
	if id == "" {
		id = newID(d.prefix)
	}
	return d.store(key, id, value), nil
}

func unknownCreation(how pb.ObjectCreationType) error {
	return status.Errorf(codes.InvalidArgument, "object_creation_type: must be one that is in use (got %v)", how)
}

// Find returns the object with the id, or NOT_FOUND.
func (d *Directory[T]) Find(id string) (Object[T], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o, ok := d.byID[id]; ok {
		return o, nil
	}
	return Object[T]{}, status.Errorf(codes.NotFound, "%s %q not found", d.kind, id)
}

// In returns the ids of all objects of the environment.
func (d *Directory[T]) In(environment string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for id, o := range d.byID {
		if o.Environment == environment {
			ids = append(ids, id)
		}
	}
	return ids
}

// put makes a named object known.
func (d *Directory[T]) put(environment, name string, value T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.store(scope{environment, name}, newID(d.prefix), value)
}

// store replaces the object with the id. The caller holds mu.
func (d *Directory[T]) store(key scope, id string, value T) Object[T] {
	o := Object[T]{ID: id, Environment: key.environment, Value: value}
	d.byID[id] = o
	if key.name != "" {
		d.byName[key] = id
	}
	return o
}
