// Package misbehave is a worker with one bad habit, for showing that the harness diagnoses it.
package misbehave

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Times of the habits; nothing here outlives life.
const (
	lateness = 400 * time.Millisecond
	life     = 30 * time.Second
)

// variable asks a program of the harness to be such a worker: "HABIT PORT".
const variable = "TOUCHSTONE_MISBEHAVE"

// Environment asks a program that calls IfAsked to be a worker with the habit, on the port that replaces {port}.
func Environment(habit string) string { return variable + "=" + habit + " {port}" }

// IfAsked makes this process the worker that the environment asks for, and then does not return. A program of the harness calls
// it before anything else, so that no worker needs to be built for the sake of its habits.
func IfAsked() {
	asked, isAsked := os.LookupEnv(variable)
	if !isAsked {
		return
	}
	habit, port, _ := strings.Cut(asked, " ")
	run(habit, port)
	os.Exit(0)
}

func run(habit, port string) {
	time.AfterFunc(life, func() { os.Exit(3) })
	switch habit {
	case "dies":
		fmt.Println("cannot go on: the cat sat on the keyboard")
		os.Exit(7)
	case "never-listens":
		fmt.Println("thinking")
		waitForEnd()
	case "hangs":
		accept(port)
		waitForEnd()
	case "unhealthy":
		serve(port, http.StatusServiceUnavailable)
		waitForEnd()
	case "late":
		time.AfterFunc(lateness, func() { serve(port, http.StatusOK) })
		waitForEnd()
	case "floods":
		for range 4096 {
			fmt.Println(strings.Repeat("x", 255))
		}
		serve(port, http.StatusOK)
		waitForEnd()
	case "ignores-sigterm":
		signal.Ignore(syscall.SIGTERM)
		serve(port, http.StatusOK)
		select {}
	case "leaves-orphan":
		orphan := exec.Command("sleep", fmt.Sprint(int(life.Seconds()))) //nolint:noctx // outliving this process is its purpose
		if err := orphan.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		serve(port, http.StatusOK)
		waitForEnd()
	case "behaves":
		serve(port, http.StatusOK)
		waitForEnd()
	default:
		fmt.Fprintf(os.Stderr, "no habit %q\n", habit)
		os.Exit(2)
	}
}

func waitForEnd() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
}

func listen(port string) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port) //nolint:noctx // it lives as long as the process
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return listener
}

// accept takes connections and never answers.
func accept(port string) {
	listener := listen(port)
	go func() {
		var kept []net.Conn // what is not kept would be closed once it is garbage
		defer func() {
			for _, connection := range kept {
				_ = connection.Close()
			}
		}()
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			kept = append(kept, connection)
		}
	}()
}

// serve answers everything with a status and nothing else.
func serve(port string, status int) {
	listener := listen(port)
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }),
		ReadHeaderTimeout: life,
	}
	go func() { _ = server.Serve(listener) }()
}
