package process

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestListeningFindsThisProcess(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	identity, err := Listening(listener.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if identity.PID != os.Getpid() || identity.Path != own || identity.SHA256 != Digest(own) || identity.SHA256 == "" {
		t.Errorf("got %+v, want process %d, %s", identity, os.Getpid(), own)
	}
	if used, err := UsesNVIDIA(os.Getpid()); err != nil || used {
		t.Errorf("this test uses a card: %v, %v", used, err)
	}
}

// The worker is the script, not the interpreter that many workers share.
func TestAnInterpretedWorkerIsItsScript(t *testing.T) {
	const waiting = "echo ready; read -r line\n"
	script := filepath.Join(t.TempDir(), "server.sh")
	if err := os.WriteFile(script, []byte(waiting), 0o600); err != nil {
		t.Fatal(err)
	}
	identity := interpreted(t, "--norc", script)
	if identity.Path != script || identity.SHA256 != Digest(script) || !strings.Contains(identity.Interpreter, "bash") {
		t.Errorf("got %+v, want the script %s", identity, script)
	}
	if members := family(os.Getpid()); len(members) < 2 || members[1] != identity.PID {
		t.Errorf("the family of this process is %v, want %d in it", members, identity.PID)
	}
	// A file that code without a file of its own is given, such as a model, is no worker.
	identity = interpreted(t, "-c", waiting, script)
	if filepath.Base(identity.Path) != "bash" || identity.SHA256 != Digest(identity.Path) || identity.Interpreter != "" {
		t.Errorf("got %+v, want bash itself", identity)
	}
}

// interpreted tells what a bash is that says when it is ready, and waits until the test ends.
func interpreted(t *testing.T, arguments ...string) Identity {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", arguments...)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = command.Wait() // the script ends with its input, whatever its status
	})
	ready := make([]byte, 5)
	if _, err := output.Read(ready); err != nil {
		t.Fatal(err)
	}
	identity, err := Of(command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return identity
}
