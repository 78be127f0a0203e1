// Asks the cases of a file with net/http: client FILE VERSION, where the version is 1.1 or 2.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

type testCase struct {
	Name    string
	Request struct {
		To      string
		Basic   *string
		Headers map[string]any
		Body    any
	}
	Answer struct {
		Status  int
		Headers map[string]any
		Body    any
	}
	Keep map[string]string
}

// received is a response, read to its end.
type received struct {
	status  int
	proto   string
	headers http.Header
	text    string
	json    any
}

var placeholder = regexp.MustCompile(`\$\{\w+\}`)

func main() {
	log.SetFlags(0)
	file, version := os.Args[1], os.Args[2]
	text, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	var table struct{ Cases []json.RawMessage }
	if err := json.Unmarshal(text, &table); err != nil {
		log.Fatal(err)
	}
	client := newClient(version)
	failed := 0
	for _, template := range table.Cases {
		var c testCase
		if err := json.Unmarshal(filled(template), &c); err != nil {
			log.Fatal(err)
		}
		got, err := ask(client, &c)
		if err != nil {
			log.Fatalf("%s: %v", c.Name, err)
		}
		wrong := differences(&c, got)
		if !strings.HasPrefix(got.proto, "HTTP/"+version) {
			wrong = append(wrong, "the protocol is "+got.proto)
		}
		for name, path := range c.Keep {
			os.Setenv(name, fmt.Sprint(got.kept(path)))
		}
		if len(wrong) > 0 {
			failed++
			fmt.Printf("FAILED %s: %s\n", c.Name, strings.Join(wrong, "; "))
		}
	}
	fmt.Printf("%d passed, %d failed\n", len(table.Cases)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func newClient(version string) *http.Client {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	if version == "2" {
		// HTTP/2 without TLS: what stands in for the TLS connection is a plain one.
		client.Transport = &http2.Transport{
			AllowHTTP: true,
			DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		}
	}
	return client
}

// filled returns the case with every ${NAME} replaced.
func filled(template []byte) []byte {
	return placeholder.ReplaceAllFunc(template, func(found []byte) []byte {
		value, ok := os.LookupEnv(string(found[2 : len(found)-1]))
		if !ok {
			log.Fatalf("no variable %s", found)
		}
		return []byte(value)
	})
}

func ask(client *http.Client, c *testCase) (*received, error) {
	method, path, _ := strings.Cut(c.Request.To, " ")
	var body io.Reader
	isJSON := false
	switch content := c.Request.Body.(type) {
	case nil:
	case string:
		body = strings.NewReader(content)
	default:
		text, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		body, isJSON = strings.NewReader(string(text)), true
	}
	request, err := http.NewRequest(method, os.Getenv("BASE_URL")+path, body)
	if err != nil {
		return nil, err
	}
	if isJSON {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range c.Request.Headers {
		if value, ok := values.(string); ok {
			values = []any{value}
		}
		for _, value := range values.([]any) {
			request.Header.Add(name, value.(string))
		}
	}
	if c.Request.Basic != nil {
		user, password, _ := strings.Cut(*c.Request.Basic, ":")
		request.SetBasicAuth(user, password)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	for name, values := range response.Trailer {
		response.Header[name] = values
	}
	got := &received{status: response.StatusCode, proto: response.Proto, headers: response.Header, text: string(text)}
	// A body that is no JSON has no members to compare.
	_ = json.Unmarshal(text, &got.json)
	return got, nil
}

// at returns what a path such as data.0.id leads to, or nil.
func at(document any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch inner := document.(type) {
		case map[string]any:
			document = inner[step]
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index >= len(inner) {
				return nil
			}
			document = inner[index]
		default:
			return nil
		}
	}
	return document
}

// kept returns what a path that begins with headers or body leads to.
func (got *received) kept(path string) any {
	where, rest, _ := strings.Cut(path, ".")
	if where == "headers" {
		return got.headers.Get(rest)
	}
	return at(got.json, rest)
}

func differences(c *testCase, got *received) []string {
	var wrong []string
	compare := func(what string, got, want any) {
		if want == "*" && got != nil || reflect.DeepEqual(got, want) {
			return
		}
		wrong = append(wrong, fmt.Sprintf("%s is %#v, not %#v", what, got, want))
	}
	compare("status", got.status, c.Answer.Status)
	for name, want := range c.Answer.Headers {
		var value any
		if values := got.headers.Values(name); len(values) > 0 {
			value = strings.Join(values, ", ")
		}
		compare(name, value, want)
	}
	switch body := c.Answer.Body.(type) {
	case string:
		compare("body", got.text, body)
	case map[string]any:
		for path, want := range body {
			compare(path, at(got.json, path), want)
		}
	}
	return wrong
}
