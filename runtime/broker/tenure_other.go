//go:build !unix

package broker

// Write implements net.Conn. It begins no write when the tenure is over.
func (c *guardedConn) Write(p []byte) (int, error) {
	if c.tenure.over() {
		return 0, errTenureOver
	}
	return c.Conn.Write(p)
}
