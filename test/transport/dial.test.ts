import { once } from "node:events";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { OpenClawError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { dial, type DialOptions } from "../../src/transport/dial.ts";
import type { FrameSocket } from "../../src/transport/frame-socket.ts";
import { createCertificate } from "../fixtures/certificate.ts";
import { answering, type Certificate, startRawServer, whenAsked } from "../fixtures/raw-server.ts";

const longMs = 30_000;
const shortMs = 50;
const token = "s3cret-token";
const bearer = new Secret(token);

/** Dials with the token, and gives the failure; anything but one of ours fails the test. */
async function failureOf(url: string, options: Partial<DialOptions> = {}): Promise<OpenClawError> {
  let ended = false;
  const listener = { text: () => {}, closed: () => void (ended = true) };
  const outcome = await dial({ url, bearer, timeoutMs: longMs, ...options }, listener).catch((error: unknown) => error);
  expect(ended, "a listener hears nothing of a socket that never opened").toBe(false);
  if (!(outcome instanceof OpenClawError)) throw new Error(`not one of our failures: ${String(outcome)}`);
  expect(`${outcome.message} ${outcome.hint} ${JSON.stringify(outcome.details)}`).not.toContain(token);
  return outcome;
}

/** A WebSocket server that sends every message back, and the headers of its upgrades. */
async function startEcho(certificate?: Certificate) {
  const http = certificate === undefined ? createServer() : createTlsServer({ ...certificate });
  const web = new WebSocketServer({ server: http });
  const upgrades: { readonly url: string | undefined; readonly headers: NodeJS.Dict<string | string[]> }[] = [];
  web.on("connection", (socket, { url, headers }) => {
    upgrades.push({ url, headers });
    socket.on("message", (data: Buffer) => socket.send(data.toString()));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return {
    port: (http.address() as AddressInfo).port,
    upgrades,
    async [Symbol.asyncDispose]() {
      for (const socket of web.clients) socket.terminate();
      http.close();
      await once(http, "close");
    },
  };
}

/** Dials, sends a word and waits for its echo. */
async function echo(options: Partial<DialOptions> & { readonly url: string }): Promise<string> {
  const answer = Promise.withResolvers<string>();
  const listener = { text: answer.resolve, closed: () => answer.reject(new Error("closed")) };
  const socket = await dial({ timeoutMs: longMs, ...options }, listener);
  socket.send("hello");
  const heard = await answer.promise;
  socket.terminate();
  return heard;
}

describe("a gateway that answers", () => {
  test("gets the token on the upgrade, the path, and the headers it was to get", async () => {
    await using server = await startEcho();
    const headers = [["CF-Access-Client-Id", new Secret("service")]] as const;
    expect(await echo({ url: `ws://127.0.0.1:${server.port}/context/path`, bearer, headers })).toBe("hello");
    expect(server.upgrades).toHaveLength(1);
    expect(server.upgrades[0]).toMatchObject({
      url: "/context/path",
      headers: { authorization: `Bearer ${token}`, "cf-access-client-id": "service", host: `127.0.0.1:${server.port}` },
    });
  });

  test("gets no Authorization and no Origin when there is none to send, and no offer of compression", async () => {
    await using server = await startEcho();
    await echo({ url: `ws://127.0.0.1:${server.port}/` });
    const sent = Object.keys(server.upgrades[0]?.headers ?? {});
    expect(sent.toSorted()).toEqual(["connection", "host", "sec-websocket-key", "sec-websocket-version", "upgrade"]);
  });

  test("is reached by name as well as by address", async () => {
    await using server = await startEcho();
    expect(await echo({ url: `ws://localhost:${server.port}` })).toBe("hello");
  });

  test("may send its first message together with its 101", async () => {
    const first = Promise.withResolvers<string>();
    const http = createServer();
    const web = new WebSocketServer({ noServer: true });
    http.on("upgrade", (request, socket, head) => {
      socket.cork();
      web.handleUpgrade(request, socket, head, (client) => client.send("hi"));
      socket.uncork();
    });
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const client = await dial({ url, timeoutMs: longMs }, { text: first.resolve, closed: () => {} });
    expect(await first.promise).toBe("hi");
    client.terminate();
    http.close();
  });
});

describe("a port where no gateway answers", () => {
  test("nothing listens: unreachable", async () => {
    // Port 1 is below every range that systems hand out.
    const failure = await failureOf("ws://127.0.0.1:1/");
    expect(failure).toMatchObject({ code: "unreachable", details: { systemCode: "ECONNREFUSED" } });
    expect(failure.message).toContain("nothing listens on 127.0.0.1:1");
  });

  test("it takes the connection and says nothing: timeout, and the connection is closed", async () => {
    await using server = await startRawServer(() => {});
    const failure = await failureOf(`ws://127.0.0.1:${server.port}`, { timeoutMs: shortMs });
    const address = `127.0.0.1:${server.port}`;
    expect(failure).toMatchObject({
      code: "timeout",
      message: `${address}: the HTTP upgrade was not answered within ${shortMs} ms`,
      details: { address, step: "http-upgrade", timeoutMs: shortMs },
    });
    await server.gone(1);
  });

  test("it explains itself for ever: timeout", async () => {
    await using server = await startRawServer((socket) => {
      whenAsked(socket, () => socket.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nwell, "));
    });
    expect(await failureOf(`ws://127.0.0.1:${server.port}`, { timeoutMs: 200 })).toMatchObject({ code: "timeout" });
    await server.gone(1);
  });

  test.each<[what: string, hello: string]>([
    ["garbage", "\u0000\u0001\u0002 garbage\r\n\r\n"],
    ["an SSH banner", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"],
    ["the greeting of a mail server", "220 mail.example.test ESMTP\r\n"],
  ])("it greets with %s: not a gateway", async (_what, hello) => {
    await using server = await startRawServer((socket) => socket.write(hello));
    expect(await failureOf(`ws://127.0.0.1:${server.port}`)).toMatchObject({ code: "not-a-gateway" });
    await server.gone(1);
  });

  test("it greets and hangs up: not a gateway, or gone", async () => {
    await using server = await startRawServer((socket) => socket.end("SSH-2.0-OpenSSH_9.2p1\r\n"));
    expect((await failureOf(`ws://127.0.0.1:${server.port}`)).code).toBeOneOf(["not-a-gateway", "unreachable"]);
  });

  test("it switches protocols with the wrong digest: not a gateway", async () => {
    const response =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm8=\r\n\r\n";
    await using server = await startRawServer((socket) => whenAsked(socket, () => socket.write(response)));
    expect(await failureOf(`ws://127.0.0.1:${server.port}`)).toMatchObject({ code: "not-a-gateway" });
    await server.gone(1);
  });

  test.each<[what: string, end: (socket: { end(): void; resetAndDestroy(): void }) => void]>([
    ["closes", (socket) => socket.end()],
    ["resets", (socket) => socket.resetAndDestroy()],
  ])("it %s the connection at once, or in the middle of the upgrade: unreachable", async (_what, end) => {
    await using atOnce = await startRawServer(end);
    await using later = await startRawServer((socket) => whenAsked(socket, () => end(socket)));
    for (const { port } of [atOnce, later]) {
      const failure = await failureOf(`ws://127.0.0.1:${port}`);
      expect(failure).toMatchObject({ code: "unreachable", hint: expect.stringContaining("tunnel") });
    }
  });
});

describe("an HTTP answer instead of an upgrade", () => {
  const refusal = { name: "an access proxy in front of the gateway", answer: "refusal", wants: [], sent: [] };
  const json = (message: string) => JSON.stringify({ error: { message, type: "x" } });
  const http = (status: string, headers: readonly string[], body: string) =>
    [`HTTP/1.1 ${status}`, ...headers, `Content-Length: ${Buffer.byteLength(body)}`, "", body].join("\r\n");

  test.each<[status: string, headers: readonly string[], body: string, failure: Partial<OpenClawError>]>([
    ["200 OK", [], "<html>hello</html>", { code: "not-a-gateway", details: { status: 200 } }],
    ["400 Bad Request", [], "", { code: "not-a-gateway", details: { status: 400 } }],
    [
      "401 Unauthorized",
      [],
      json("wrong token"),
      { code: "upgrade-refused", details: { status: 401, said: "wrong token" } },
    ],
    ["401 Unauthorized", [], "", { code: "upgrade-refused", details: { status: 401 } }],
    ["403 Forbidden", [], "no entry\nfor you", { code: "upgrade-refused", details: { status: 403, said: "no entry" } }],
    [
      "403 Forbidden",
      [],
      "<h1>Access denied</h1>",
      { code: "upgrade-refused", details: { status: 403, edge: refusal } },
    ],
    ["404 Not Found", [], "Not Found", { code: "not-a-gateway", details: { status: 404, said: "Not Found" } }],
    [
      "429 Too Many Requests",
      ["Retry-After: 17"],
      json("slow down"),
      { code: "rate-limited", details: { status: 429, said: "slow down", retryAfterMs: 17_000 } },
    ],
    ["429 Too Many Requests", [], "", { code: "rate-limited", details: { status: 429 } }],
    [
      "429 Too Many Requests",
      ["Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"],
      "",
      { code: "rate-limited", details: { status: 429, retryAfterMs: 0 } },
    ],
    [
      "429 Too Many Requests",
      ["Date: Wed, 21 Oct 2026 07:28:00 GMT", "Retry-After: Wed, 21 Oct 2026 07:28:30 GMT"],
      "",
      { code: "rate-limited", details: { status: 429, retryAfterMs: 30_000 } },
    ],
    ["429 Too Many Requests", ["Retry-After: later"], "", { code: "rate-limited", details: { status: 429 } }],
    ["500 Internal Server Error", [], "", { code: "not-a-gateway", details: { status: 500 } }],
    ["502 Bad Gateway", [], "", { code: "unreachable", details: { status: 502 } }],
    [
      "503 Service Unavailable",
      [],
      "Too many unauthenticated sockets",
      { code: "unreachable", details: { status: 503, said: "Too many unauthenticated sockets" } },
    ],
    [
      "503 Service Unavailable",
      ["Retry-After: 2"],
      "",
      { code: "unreachable", details: { status: 503, retryAfterMs: 2000 } },
    ],
    ["504 Gateway Timeout", [], "", { code: "unreachable", details: { status: 504 } }],
  ])("%s %j %j", async (status, headers, body, { code, details }) => {
    await using server = await startRawServer(answering(http(status, headers, body)));
    const failure = await failureOf(`ws://127.0.0.1:${server.port}`);
    expect({ code: failure.code, details: failure.details }).toEqual({ code, details });
    await server.gone(1);
  });

  test.each(["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])(
    "%s is not followed: where it points, nobody calls",
    async (status) => {
      await using target = await startRawServer(() => {});
      const location = `http://127.0.0.1:${target.port}/login`;
      await using server = await startRawServer(answering(http(status, [`Location: ${location}`], "")));
      const failure = await failureOf(`ws://127.0.0.1:${server.port}`);
      expect(failure).toMatchObject({ code: "upgrade-refused", details: { location } });
      await server.gone(1);
      expect([server.connections, target.connections]).toEqual([1, 0]);
    },
  );

  test("a refusal of any length is read only as far as it can explain anything", async () => {
    const endless = Buffer.alloc(64 * 1024, "x");
    await using server = await startRawServer((socket) => {
      const pour = () => socket.write(endless, (error) => (error == null && !socket.destroyed ? pour() : undefined));
      whenAsked(socket, () => {
        socket.write("HTTP/1.1 403 Forbidden\r\n\r\n");
        pour();
      });
    });
    const failure = await failureOf(`ws://127.0.0.1:${server.port}`);
    expect(failure).toMatchObject({ code: "upgrade-refused", details: { status: 403, said: "x".repeat(200) } });
    await server.gone(1);
  });
});

describe("TLS", () => {
  const certificate = createCertificate("DNS:localhost", "IP:127.0.0.1");
  const plain = certificate.fingerprint.replaceAll(":", "").toLowerCase();

  test.each<[what: string, pin: string]>([
    ["as openssl prints it", certificate.fingerprint],
    ["in small letters without colons", plain],
  ])("the right pin, %s, lets the token out", async (_what, tlsFingerprint) => {
    await using server = await startEcho(certificate);
    expect(await echo({ url: `wss://127.0.0.1:${server.port}`, bearer, tlsFingerprint })).toBe("hello");
    // A server of the kind the next tests use does hear the token, when it may.
    await using refusing = await startRawServer(answering("HTTP/1.1 401 Unauthorized\r\n\r\n"), certificate);
    const failure = await failureOf(`wss://127.0.0.1:${refusing.port}`, { tlsFingerprint });
    expect(failure).toMatchObject({ code: "upgrade-refused" });
    expect(refusing.heard).toContain(`Authorization: Bearer ${token}`);
  });

  const foreign = createCertificate("DNS:localhost", "IP:127.0.0.1").fingerprint;
  test.each<[what: string, pin: string]>([
    ["of another certificate", foreign],
    ["that was cut short", certificate.fingerprint.slice(0, 47)],
    ["that is empty", ""],
  ])("a pin %s is refused before a single byte of HTTP", async (_what, tlsFingerprint) => {
    await using server = await startRawServer(() => {}, certificate);
    const failure = await failureOf(`wss://127.0.0.1:${server.port}`, { tlsFingerprint });
    expect(failure).toMatchObject({ code: "tls-pin-mismatch", details: { seen: plain } });
    await server.gone(1);
    expect(server.heard).toBe("");
  });

  test("without a pin a self-signed certificate is refused before a single byte of HTTP", async () => {
    await using server = await startRawServer(() => {}, certificate);
    const failure = await failureOf(`wss://127.0.0.1:${server.port}`);
    expect(failure).toMatchObject({ code: "tls-failed", hint: expect.stringContaining("--tls-fingerprint") });
    expect(server.heard).toBe("");
  });

  test("a certificate that the system trusts needs no pin, if it is for the address that was dialled", async () => {
    const forNameOnly = createCertificate("DNS:localhost");
    const before = getCACertificates("default");
    setDefaultCACertificates([...before, certificate.cert, forNameOnly.cert]);
    try {
      await using good = await startEcho(certificate);
      expect(await echo({ url: `wss://127.0.0.1:${good.port}` })).toBe("hello");
      expect(await echo({ url: `wss://localhost:${good.port}` })).toBe("hello");
      await using other = await startRawServer(() => {}, forNameOnly);
      const failure = await failureOf(`wss://127.0.0.1:${other.port}`);
      expect(failure).toMatchObject({ code: "tls-failed", details: { systemCode: "ERR_TLS_CERT_ALTNAME_INVALID" } });
      expect(other.heard).toBe("");
    } finally {
      setDefaultCACertificates(before);
    }
  });

  test("a server that does not speak TLS hears nothing but the beginning of it", async () => {
    await using server = await startRawServer((socket) => socket.write("SSH-2.0-OpenSSH_9.2p1\r\n"));
    expect(await failureOf(`wss://127.0.0.1:${server.port}`)).toMatchObject({ code: "tls-failed" });
    await server.gone(1);
    expect(server.heard).not.toContain("HTTP/1.1");
    expect(server.heard).not.toContain(token);
  });

  test("a server that hangs up during the TLS handshake is a TLS failure", async () => {
    await using server = await startRawServer((socket) => socket.once("data", () => socket.end()));
    expect(await failureOf(`wss://127.0.0.1:${server.port}`)).toMatchObject({ code: "tls-failed" });
  });

  test("a server that says nothing during the TLS handshake is a timeout", async () => {
    await using server = await startRawServer(() => {});
    const address = `127.0.0.1:${server.port}`;
    expect(await failureOf(`wss://${address}`, { timeoutMs: shortMs })).toMatchObject({
      code: "timeout",
      message: `${address}: the TLS handshake did not finish within ${shortMs} ms`,
      details: { address, step: "tls-handshake" },
    });
    await server.gone(1);
  });

  test("a plain gateway that is dialled with TLS is said to be one, with the address to write instead", async () => {
    await using server = await startEcho();
    const failure = await failureOf(`wss://127.0.0.1:${server.port}/context`);
    expect(failure).toMatchObject({
      code: "tls-failed",
      message: `the port 127.0.0.1:${server.port} speaks plain WebSocket, not TLS`,
      fix: `openclaw gateway status --url ws://127.0.0.1:${server.port}/context`,
    });
    expect(`${failure.message} ${failure.hint}`).not.toMatch(/SSL|wrong version/u);
  });

  test("a gateway with TLS that is dialled without is said to be one, with the address to write instead", async () => {
    await using server = await startEcho(certificate);
    const failure = await failureOf(`ws://127.0.0.1:${server.port}`);
    expect(failure).toMatchObject({
      code: "tls-failed",
      message: `the port 127.0.0.1:${server.port} speaks TLS, not plain WebSocket`,
      fix: `openclaw gateway status --url wss://127.0.0.1:${server.port}`,
    });
    expect(server.upgrades).toEqual([]);
  });

  test.each<[what: string, answer: string | Buffer]>([
    ["with a TLS alert", Buffer.from([21, 3, 1, 0, 2, 2, 70])],
    [
      "with a 400 in words of its own",
      "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.",
    ],
  ])("a TLS server that answers plain text %s is told by its handshake", async (_what, answer) => {
    await using tls = await startRawServer(() => {}, certificate);
    // The port of a server that sorts its callers by their first byte: 22 begins a TLS handshake (RFC 8446 § 5.1).
    await using server = await startRawServer((socket) => {
      socket.once("data", (first: Buffer) => {
        if (first[0] !== 22) return socket.end(answer);
        const inside = connect({ host: "127.0.0.1", port: tls.port });
        inside.on("error", () => socket.destroy()).write(first);
        inside.pipe(socket).pipe(inside);
        return undefined;
      });
    });
    expect(await failureOf(`ws://127.0.0.1:${server.port}`)).toMatchObject({
      code: "tls-failed",
      message: `the port 127.0.0.1:${server.port} speaks TLS, not plain WebSocket`,
    });
    await tls.gone(1);
    expect(tls.heard).toBe("");
  });

  test("what was heard of a failed handshake is for people: OpenSSL's reason without its bookkeeping", async () => {
    await using server = await startRawServer((socket) => socket.write(Buffer.from([21, 3, 1, 0, 2, 2, 40])));
    const failure = await failureOf(`wss://127.0.0.1:${server.port}`);
    expect(failure).toMatchObject({ code: "tls-failed" });
    expect(failure.message).not.toMatch(/:error:|SSL routines|\n/u);
  });
});

describe("an abort", () => {
  const reason = new Error("Ctrl-C");

  /** Dials, aborts once `begun` has happened, and gives what the dial failed with. */
  async function abortAfter(url: string, begun: Promise<unknown>): Promise<unknown> {
    const stop = new AbortController();
    const dialling = dial(
      { url, bearer, timeoutMs: longMs, signal: stop.signal },
      { text: () => {}, closed: () => {} },
    );
    const outcome = dialling.then((socket: FrameSocket) => `opened: ${socket.isOpen}`).catch((error: unknown) => error);
    await begun;
    stop.abort(reason);
    return outcome;
  }

  test("before anything: no connection is made", async () => {
    await using server = await startRawServer(() => {});
    const options = { url: `ws://127.0.0.1:${server.port}`, timeoutMs: longMs, signal: AbortSignal.abort(reason) };
    await expect(dial(options, { text: () => {}, closed: () => {} })).rejects.toBe(reason);
    expect(server.connections).toBe(0);
  });

  test("while TCP connects", async () => {
    await using server = await startRawServer(() => {});
    expect(await abortAfter(`ws://127.0.0.1:${server.port}`, Promise.resolve())).toBe(reason);
    expect(server.heard).toBe("");
  });

  test.each<[phase: string, scheme: string]>([
    ["the TLS handshake is on its way", "wss"],
    ["the answer to the upgrade is awaited", "ws"],
  ])("while %s: the server sees the connection go", async (_phase, scheme) => {
    const begun = Promise.withResolvers<void>();
    await using server = await startRawServer((socket) => socket.once("data", () => begun.resolve()));
    expect(await abortAfter(`${scheme}://127.0.0.1:${server.port}`, begun.promise)).toBe(reason);
    await server.gone(1);
  });

  test("while a refusal explains itself", async () => {
    const begun = Promise.withResolvers<void>();
    await using server = await startRawServer((socket) => {
      whenAsked(socket, () =>
        socket.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nwell, ", () => begun.resolve()),
      );
    });
    expect(await abortAfter(`ws://127.0.0.1:${server.port}`, begun.promise)).toBe(reason);
    await server.gone(1);
  });

  test("after the socket is open leaves it open: it belongs to the session now", async () => {
    await using server = await startEcho();
    const stop = new AbortController();
    const answer = Promise.withResolvers<string>();
    const url = `ws://127.0.0.1:${server.port}`;
    const socket = await dial(
      { url, timeoutMs: longMs, signal: stop.signal },
      { text: answer.resolve, closed: () => {} },
    );
    stop.abort(reason);
    socket.send("still here");
    expect(await answer.promise).toBe("still here");
    socket.terminate();
  });
});

test("a ping is told to a listener that is an object of a class", async () => {
  class Inbox {
    signs = 0;
    readonly heard = Promise.withResolvers<void>();
    text(): void {}
    pinged(): void {
      this.signs++;
      this.heard.resolve();
    }
    closed(): void {}
  }
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => socket.ping());
  const inbox = new Inbox();
  const socket = await dial(
    { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, timeoutMs: 10_000 },
    inbox,
  );
  await inbox.heard.promise;
  expect(inbox.signs).toBe(1);
  socket.terminate();
  server.close();
});
