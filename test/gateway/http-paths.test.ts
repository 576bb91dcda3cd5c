/** Which route a path belongs to, and which spellings of a path are not believed (auth.md § 7). */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  compileRoutes,
  findRoute,
  type HttpRoute,
  publicLocation,
  readTarget,
  upstreamTarget,
} from "../../src/gateway/http/routes.ts";
import { startGateway } from "../support/world.ts";

const upstream = "http://127.0.0.1:8000";

/** Where these routes lead a request-target: `host/path?query`, or undefined. */
function lead(routes: readonly HttpRoute[], text: string): string | undefined {
  const target = readTarget(text);
  const route = target === undefined ? undefined : findRoute(compileRoutes(routes), target);
  return target === undefined || route === undefined ? undefined : route.upstream.host + upstreamTarget(route, target);
}

const api = { path: "/v1/", upstream };
const chat = { path: "/v1/chat", upstream: "http://127.0.0.1:8001" };
const moved = { path: "/llm", upstream: "http://127.0.0.1:8002/api/v1/" };
const rest = { path: "/", upstream: "http://127.0.0.1:8003" };
const all = [rest, api, chat, moved];

test.each<[text: string, routes: readonly HttpRoute[], leadsTo: string | undefined]>([
  ["/v1/models", [api], "127.0.0.1:8000/v1/models"],
  ["/v1/models?a=/../b&c=%2e%2e", [api], "127.0.0.1:8000/v1/models?a=/../b&c=%2e%2e"],
  ["/v1/", [api], "127.0.0.1:8000/v1/"],
  ["/v1", [api], "127.0.0.1:8000/v1"],
  ["/v1?x", [api], "127.0.0.1:8000/v1?x"],
  ["/v1/models/org%2Fname", [api], "127.0.0.1:8000/v1/models/org%2Fname"],
  ["/v1/100%25", [api], "127.0.0.1:8000/v1/100%25"],
  ["/v1/..x/.well-known/...", [api], "127.0.0.1:8000/v1/..x/.well-known/..."],
  ["/v1/gr%C3%BC%C3%9Fe", [api], "127.0.0.1:8000/v1/gr%C3%BC%C3%9Fe"],
  ["/v10/models", [api], undefined],
  ["/", [api], undefined],
  ["/v1/chat/completions", all, "127.0.0.1:8001/v1/chat/completions"],
  ["/v1/chatter", all, "127.0.0.1:8000/v1/chatter"],
  ["/v2", all, "127.0.0.1:8003/v2"],
  ["/llm/models?x", all, "127.0.0.1:8002/api/v1/models?x"],
  ["/llm", all, "127.0.0.1:8002/api/v1"],
  ["/llm/", all, "127.0.0.1:8002/api/v1/"],
  ["/v1/Chat/completions", all, undefined],
  ["/v1/%63hat/completions", all, undefined],
  ["/v1%2Fchat/completions", all, undefined],
])("%s", (text, routes, leadsTo) => {
  expect(lead(routes, text)).toBe(leadsTo);
});

test.each<[location: string, seen: string]>([
  ["http://127.0.0.1:8002/api/v1/models/?x#y", "/llm/models/?x#y"],
  ["//127.0.0.1:8002/api/v1/models", "/llm/models"],
  ["/api/v1/models", "/llm/models"],
  ["/api/v10", "/api/v10"],
  ["http://127.0.0.1:8002/elsewhere", "http://127.0.0.1:8002/elsewhere"],
  ["http://127.0.0.1:8003/api/v1/models", "http://127.0.0.1:8003/api/v1/models"],
  ["https://accounts.example/login", "https://accounts.example/login"],
  ["models", "models"],
  ["http://[", "http://["],
])("a redirect to %s", (location, seen) => {
  const [route] = compileRoutes([moved]);
  if (route === undefined) throw new Error("no route");
  expect(publicLocation(route, location)).toBe(seen);
});

const pieces = fc.constantFrom(
  "/",
  "\\",
  ".",
  "..",
  "v1",
  "x",
  "%2e",
  "%2E",
  "%2f",
  "%5c",
  "%25",
  "%",
  ";",
  "a",
  "%c0%ae",
  "%00",
  "//",
  "?",
  "#",
  "é",
);

/** Where a service looks that unescapes once more than it should, knows parameters, and takes a backslash for a slash. */
function readLeniently(path: string, decodings: number): string {
  let text = path;
  for (let times = 0; times < decodings; times++) text = unescapeOnce(text);
  // URL resolves dot segments, escaped ones and those behind a backslash too (WHATWG URL, path state).
  return new URL(text.replaceAll(/;[^/\\]*/gu, ""), "http://x").pathname;
}

test("whatever is written below a route, who reads it leniently stays below it", () => {
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 12 }), fc.nat(2), fc.boolean(), (parts, decodings, isBelow) => {
      const target = readTarget((isBelow ? "/v1/" : "/") + parts.join(""));
      const route = target === undefined ? undefined : findRoute(compileRoutes([api]), target);
      const passed = target === undefined || route === undefined ? "/v1/" : upstreamTarget(route, target);
      expect(`${readLeniently(passed.split("?")[0] ?? "", decodings)}/`).toMatch(/^\/v1\//u);
    }),
    { numRuns: 2000 },
  );
});

test("a target is refused, or means what it says", () => {
  const texts = [fc.string({ unit: "binary" }), fc.string().map((text) => `/${text}`)];
  fc.assert(
    fc.property(fc.oneof(...texts), (text) => {
      const { path, query } = readTarget(text) ?? { path: text, query: "" };
      expect(path + query).toBe(text);
    }),
  );
});

function unescapeOnce(text: string): string {
  return text.replace(/%([0-9a-f]{2})/giu, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

test.each<[string, readonly HttpRoute[], RegExp]>([
  ["two routes of one path", [api, { path: "/V1", upstream }], /is there twice/u],
  ["a path of the gateway's own", [{ path: "/metrics/", upstream }], /the gateway itself/u],
  ["a path that climbs", [{ path: "/v1/../x", upstream }], /no plain path/u],
  ["a path with an escape", [{ path: "/v%31", upstream }], /no plain path/u],
  ["a path with a query", [{ path: "/v1?x", upstream }], /no plain path/u],
  ["a path without its slash", [{ path: "v1", upstream }], /no plain path/u],
  ["an upstream that is no URL", [{ path: "/v1", upstream: "127.0.0.1:8000" }], /no http:\/\/ or https:\/\/ URL/u],
  ["an upstream that is a file", [{ path: "/v1", upstream: "file:///etc/passwd" }], /no http:\/\/ or https:\/\/ URL/u],
  [
    "an upstream with a password",
    [{ path: "/v1", upstream: "http://u:hunter2@127.0.0.1" }],
    /more than host, port and path/u,
  ],
  ["an upstream with a query", [{ path: "/v1", upstream: `${upstream}/?x` }], /more than host, port and path/u],
  [
    "a scope that does not exist",
    [{ path: "/v1", upstream, scope: "operator.wrote" }],
    /does not exist: operator\.wrote/u,
  ],
])("%s: the gateway does not start", async (_name, routes, why) => {
  const failure: unknown = await startGateway({ http: { routes } }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "usage", message: expect.stringMatching(why) });
  expect(String(failure)).not.toContain("hunter2");
});
