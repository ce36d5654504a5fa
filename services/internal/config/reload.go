package config

import (
	"log/slog"
	"reflect"
)

// LogReloads has every secret of target, a pointer to a struct that [Load] filled, tell log by the name of its variable when
// its file has changed: once per change. It is called before the secrets are used.
func LogReloads(target any, log *slog.Logger) {
	for _, f := range fieldsOf(target) {
		source, ok := reflect.TypeAssert[*SecretSource](f.value)
		if !ok {
			continue
		}
		log := log.With(slog.String("variable", f.name))
		source.OnChange(func(err error) {
			if err != nil {
				log.Error("secret file not usable, keeping the last good value", slog.Any("err", err))
				return
			}
			log.Info("secret reloaded")
		})
	}
}
