// A small HTTP server, and client, for scenarios that need to see who reached whom.
//
//	httpd                          serve on $PORT (8080)
//	httpd get URL                  print "<status> <body>"; https goes with the pod's own token and CA
//	httpd dns NAME                 print the addresses of a name
//	httpd tcp HOST:PORT            connect, and say to whom
//
// The server answers / with who called whom, /healthz (turned by /toggle), /env, /status?code=N, /sleep?ms=N and /exit?code=N.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	clientTimeout  = 4 * time.Second
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"
)

func main() {
	var err error
	if len(os.Args) > 2 {
		err = client(os.Args[1], os.Args[2])
	} else {
		err = serve()
	}
	if err != nil {
		fmt.Println("ERR", err)
		os.Exit(1)
	}
}

func client(mode, target string) error {
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	switch mode {
	case "get":
		return get(ctx, target)
	case "dns":
		addresses, err := net.DefaultResolver.LookupHost(ctx, target)
		if err == nil {
			fmt.Println(addresses)
		}
		return err
	case "tcp":
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
		if err == nil {
			fmt.Println("connected", connection.RemoteAddr())
		}
		return err
	}
	return errors.New("unknown mode " + mode)
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	if request.URL.Scheme == "https" {
		if ca, err := os.ReadFile(serviceAccount + "ca.crt"); err == nil {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(ca)
			transport.TLSClientConfig = &tls.Config{RootCAs: pool}
		}
		if token, err := os.ReadFile(serviceAccount + "token"); err == nil {
			request.Header.Set("Authorization", "Bearer "+string(token))
		}
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Printf("%d %s", response.StatusCode, body)
	return err
}

func serve() error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	host, _ := os.Hostname()
	var sick atomic.Bool
	number := func(r *http.Request, name string) int {
		n, _ := strconv.Atoi(r.URL.Query().Get(name))
		return n
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.RemoteAddr, r.Method, r.URL)
		fmt.Fprintf(w, "hello from %s to %s: %s %s\n", host, r.RemoteAddr, r.Method, r.URL.Path)
	})
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, "ok")
	})
	http.HandleFunc("/toggle", func(w http.ResponseWriter, _ *http.Request) {
		sick.Store(!sick.Load())
		fmt.Fprintln(w, "sick:", sick.Load())
	})
	http.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		for _, entry := range os.Environ() {
			fmt.Fprintln(w, entry)
		}
	})
	http.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(max(number(r, "code"), http.StatusOK)) })
	http.HandleFunc("/sleep", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
		fmt.Fprintln(w, "slept")
	})
	http.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) { os.Exit(number(r, "code")) })
	go func() {
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
		<-end
		fmt.Println("terminating")
		os.Exit(0)
	}()
	fmt.Println("listening on", port)
	return http.ListenAndServe(":"+port, nil)
}
