package core

import (
	"passenger/go/internal/admin"
	"passenger/go/internal/cable"
)

// cableName is the name of the broker's socket in the instance directory.
const cableName = "cable"

// newCable makes the broker for Action Cable's subscription adapter, which
// processes of the application use through this socket.
func (e *Engine) newCable() admin.Socket {
	e.cable = cable.New(cable.Options{Log: e.log})
	e.admin.cable = func() any { return e.cable.Stats() }
	return admin.Socket{Name: cableName, Serve: e.cable.Serve, Refuse: cable.Refuse}
}

func (e *Engine) cableSocket() string { return e.admin.server.SocketPath(cableName) }
