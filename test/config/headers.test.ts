import { expect, test } from "vitest";
import {
  environmentHeaders,
  type Header,
  mergeHeaders,
  parseHeader,
  parseHeaderLines,
} from "../../src/config/headers.ts";
import { Secret } from "../../src/secret.ts";

const shown = (headers: readonly Header[]) => headers.map(([name, value]) => [name, value.reveal()]);

test.each([
  ["X-Trace: 1", ["X-Trace", "1"]],
  ["X-Trace:1", ["X-Trace", "1"]],
  ["X-Trace:   a: b  ", ["X-Trace", "a: b"]],
  ["cookie: a=b; c=d", ["cookie", "a=b; c=d"]],
])("%j is a header", (line, header) => {
  expect(shown([parseHeader(line, "--header")])).toEqual([header]);
});

test.each([
  "Authorization: hunter2",
  "AUTHORIZATION: hunter2",
  "Host: hunter2",
  "Connection: hunter2",
  "upgrade: hunter2",
  "Sec-WebSocket-Key: hunter2",
  "sec-websocket-anything: hunter2",
  "Content-Length: hunter2",
  "Transfer-Encoding: hunter2",
  "X: hunter2\r\nInjected: 1",
  "X: hunter2\nInjected: 1",
  "X: hunter2\0",
  "X: hunter2 \u{1F980}",
  "X Y: hunter2",
  "X\r\nY: hunter2",
  "X : hunter2",
  "Ü: hunter2",
  ": hunter2",
  "hunter2",
  "X:",
  "X:   ",
  "",
])("%j is `usage`, and its value is not repeated", (line) => {
  expect(() => parseHeader(line, "--header")).toThrow(
    expect.objectContaining({
      code: "usage",
      message: expect.stringMatching(/^--header (?!.*hunter2)/),
      hint: expect.stringMatching(/^(?!.*hunter2)/),
    }),
  );
});

test("lines that are empty or begin with # say nothing", () => {
  const text = "# the service token of the edge\n\nX-One: 1\r\n  # and another\n\tX-Two: #2\n";
  expect(shown(parseHeaderLines(text, "edge"))).toEqual([
    ["X-One", "1"],
    ["X-Two", "#2"],
  ]);
});

test.each([
  ["hunter2", "edge:3: the header has no name and colon"],
  ["Host: hunter2", 'edge:3: the header "Host" is set by the connection itself'],
  ["X-One:", 'edge:3: the header "X-One" needs a value, on one line and without control characters'],
  ["hunter2 hunter2: hunter2", "edge:3: the header has characters that a header name cannot have"],
])("%j in a file is told with file and line, and nothing of its value", (line, message) => {
  expect(() => parseHeaderLines(`# for the edge\nX-Trace: 1\n${line}\n`, "edge")).toThrow(
    expect.objectContaining({ code: "usage", message }),
  );
});

test("the environment has one header a line, and the pair of an access proxy", () => {
  const env = {
    OPENCLAW_GATEWAY_HEADERS: "X-One: 1\r\n\n  X-Two: 2\n",
    CF_ACCESS_CLIENT_ID: "id",
    CF_ACCESS_CLIENT_SECRET: "hunter2",
  };
  expect(shown(environmentHeaders(env))).toEqual([
    ["X-One", "1"],
    ["X-Two", "2"],
    ["CF-Access-Client-Id", "id"],
    ["CF-Access-Client-Secret", "hunter2"],
  ]);
});

test("empty variables say nothing", () => {
  expect(
    environmentHeaders({ OPENCLAW_GATEWAY_HEADERS: "", CF_ACCESS_CLIENT_ID: "", CF_ACCESS_CLIENT_SECRET: "" }),
  ).toEqual([]);
});

test.each([
  { CF_ACCESS_CLIENT_ID: "id" },
  { CF_ACCESS_CLIENT_SECRET: "hunter2", CF_ACCESS_CLIENT_ID: "" },
  { CF_ACCESS_CLIENT_ID: "id\r\nX: 1", CF_ACCESS_CLIENT_SECRET: "hunter2" },
  { OPENCLAW_GATEWAY_HEADERS: "Authorization: hunter2" },
])("%j is `usage`", (env) => {
  expect(() => environmentHeaders(env)).toThrow(
    expect.objectContaining({ code: "usage", message: expect.stringMatching(/^(?!.*hunter2)/) }),
  );
});

test("the stronger source's header counts, whatever its case; within a source the last one", () => {
  const header = (name: string, value: string): Header => [name, new Secret(value)];
  const merged = mergeHeaders(
    [header("X-A", "flag 1"), header("x-a", "flag 2")],
    [header("X-a", "env"), header("X-B", "env")],
    [header("x-b", "file"), header("X-C", "file")],
  );
  expect(shown(merged)).toEqual([
    ["x-a", "flag 2"],
    ["X-B", "env"],
    ["X-C", "file"],
  ]);
});
