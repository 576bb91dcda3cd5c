/** `wss://` gateways with certificates that no authority vouches for: pins, first sight, and what a server hears before it is known. */
import { createHash, X509Certificate } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCertificate, renewCertificate, type TestCertificate } from "../fixtures/certificate.ts";
import { answering, startRawServer } from "../fixtures/raw-server.ts";
import { at, textAt } from "../support/raw-client.ts";
import { binPath, CliHome, type CliResult, type RunningCli } from "../support/run-cli.ts";
import { startSshd } from "../support/sshd.ts";
import { succeed } from "./world.ts";

const [first, second] = [createCertificate("IP:127.0.0.1"), createCertificate("IP:127.0.0.1")];
const hexOf = ({ fingerprint }: TestCertificate) => fingerprint.replaceAll(":", "").toLowerCase();
const notFound = answering("HTTP/1.1 404 Not Found\r\n\r\n");
/** How a command ends at a server that is believed, and is no gateway. */
const wasHeard = { code: 3, json: { error: { code: "not-a-gateway", details: { status: 404 } } } };
const secrets = "--header 'X-Edge: edge-secret' --token-file token";

class Machine extends CliHome {
  readonly pins = this.path(".openclaw", "toolkit", "tls-pins.json");

  constructor() {
    super();
    writeFileSync(this.path("token"), "bearer-secret");
  }

  status(port: number, flags = ""): Promise<CliResult> {
    const shown = secrets.replace("token-file token", `token-file ${this.path("token")}`);
    return this.run(`gateway status --json --url wss://127.0.0.1:${port} ${shown} ${flags}`);
  }

  get accepted(): unknown {
    return existsSync(this.pins) ? at(JSON.parse(readFileSync(this.pins, "utf8")), "gateways") : undefined;
  }
}

describe("a self-signed certificate", () => {
  test("is not taken unless that is asked for, and the way to do it is told", async () => {
    using machine = new Machine();
    await using server = await startRawServer(notFound, first);
    const result = await machine.status(server.port);
    expect(result).toMatchObject({ code: 3, json: { error: { code: "tls-failed" } } });
    for (const words of [hexOf(first), "--tls-fingerprint", "--tls-accept-new"]) expect(result.stdout).toContain(words);
    expect([server.heard, machine.accepted]).toEqual(["", undefined]);
  });

  test("is taken on first sight where that is asked for: it is written down before anything is said", async () => {
    using machine = new Machine();
    const known: unknown[] = [];
    await using server = await startRawServer((socket) => {
      socket.once("data", () => known.push(machine.accepted));
      notFound(socket);
    }, first);
    const accepted = await machine.status(server.port, "--tls-accept-new");
    expect(accepted).toMatchObject(wasHeard);
    expect(accepted.stderr).toContain(`is held to its certificate from now on: SHA-256 ${hexOf(first)}`);
    expect(server.heard).toMatch(/edge-secret[\s\S]*Bearer bearer-secret/u);
    const origin = `wss://127.0.0.1:${server.port}`;
    expect(known[0]).toEqual({ [origin]: { fingerprint: hexOf(first), acceptedAtMs: expect.any(Number) } });
    expect(statSync(machine.pins).mode & 0o777).toBe(0o600);
    // From now on without being asked for.
    expect(await machine.status(server.port)).toMatchObject(wasHeard);
  });

  test("that takes the place of the one that was accepted is refused, whatever is asked for; nothing is heard", async () => {
    using machine = new Machine();
    await using server = await startRawServer(notFound, first);
    await machine.status(server.port, "--tls-accept-new");
    const before = server.heard.length;
    server.showCertificate(second);
    for (const flags of ["", "--tls-accept-new"]) {
      const result = await machine.status(server.port, flags);
      expect(result).toMatchObject({
        code: 4,
        json: {
          error: {
            code: "tls-pin-mismatch",
            details: { expected: hexOf(first), seen: hexOf(second), reachable: false, upgrade: "not reached" },
          },
        },
      });
      for (const pin of [first, second]) expect(textAt(at(result.json, "error"), "message")).toContain(hexOf(pin));
    }
    expect(server.heard.length).toBe(before);
    // A person who has compared it says so once.
    const named = `--tls-fingerprint ${second.fingerprint}`;
    expect(await machine.status(server.port, named)).toMatchObject(wasHeard);
    expect(await machine.status(server.port)).toMatchObject({ code: 4 });
    expect(await machine.status(server.port, `${named} --tls-accept-new`)).toMatchObject(wasHeard);
    expect(await machine.status(server.port)).toMatchObject(wasHeard);
  });

  test("is not taken in place of the pin that was given beside", async () => {
    using machine = new Machine();
    await using server = await startRawServer(notFound, first);
    const result = await machine.status(server.port, `--tls-fingerprint ${second.fingerprint} --tls-accept-new`);
    expect(result).toMatchObject({ code: 4, json: { error: { code: "tls-pin-mismatch" } } });
    expect([server.heard, machine.accepted]).toEqual(["", undefined]);
  });

  test("is not taken where the file of accepted ones cannot be read", async () => {
    using machine = new Machine();
    await using server = await startRawServer(notFound, first);
    await machine.status(server.port, "--tls-accept-new");
    const before = server.heard.length;
    writeFileSync(machine.pins, "garbage");
    const result = await machine.status(server.port, "--tls-accept-new");
    expect(result).toMatchObject({ code: 1, json: { error: { code: "state-unreadable" } } });
    expect(server.heard.length).toBe(before);
  });

  test("means nothing without TLS", async () => {
    using machine = new Machine();
    const result = await machine.run("gateway status --json --url ws://127.0.0.1:1 --tls-accept-new");
    expect(result).toMatchObject({ code: 2, json: { error: { code: "usage" } } });
  });
});

describe("an authority of one's own", () => {
  test("is named in NODE_EXTRA_CA_CERTS; whom it vouched for first is not taken without it later", async () => {
    using machine = new Machine();
    const trusted = machine.path("ca.pem");
    writeFileSync(trusted, first.cert);
    await using server = await startRawServer(notFound, first);
    const line = `gateway status --json --url wss://127.0.0.1:${server.port} --token-file ${machine.path("token")}`;
    const env = { NODE_EXTRA_CA_CERTS: trusted };
    expect(await machine.spawn(line, { env }).ended).toMatchObject(wasHeard);
    expect(machine.accepted).toBeUndefined();
    expect(await machine.spawn(`${line} --tls-accept-new`, { env }).ended).toMatchObject(wasHeard);
    server.showCertificate(second);
    const before = server.heard.length;
    const later = await machine.spawn(`${line} --tls-accept-new`, { env }).ended;
    expect(later).toMatchObject({ code: 3, json: { error: { code: "tls-failed" } } });
    expect(server.heard.length).toBe(before);
  });
});

test("the pin of a public key holds in the configuration, over a renewal too", async () => {
  using machine = new Machine();
  const key = new X509Certificate(first.cert).publicKey.export({ type: "spki", format: "der" });
  const pin = `sha256/${createHash("sha256").update(key).digest("base64")}`;
  await using server = await startRawServer(notFound, first);
  const remote = { url: `wss://127.0.0.1:${server.port}`, token: "bearer-secret", tlsFingerprint: pin };
  const config = machine.path("config.json5");
  writeFileSync(config, JSON.stringify({ gateway: { mode: "remote", remote } }));
  const ask = () => machine.run(`gateway status --json --config ${config}`);
  expect(await ask()).toMatchObject(wasHeard);
  server.showCertificate(renewCertificate(first, "IP:127.0.0.1"));
  expect(await ask()).toMatchObject(wasHeard);
  const before = server.heard.length;
  server.showCertificate(second);
  expect(await ask()).toMatchObject({ code: 4, json: { error: { details: { expected: pin } } } });
  expect(server.heard.length).toBe(before);
  const typed = await machine.run(`config set gateway.remote.tlsFingerprint ${pin} --config ${config}`);
  expect(typed).toMatchObject({ code: 0 });
});

describe("a gateway with a self-signed certificate", () => {
  let home: CliHome;
  let gateway: RunningCli;
  let url = "";
  beforeAll(async () => {
    home = new CliHome();
    gateway = startGateway(home, first);
    url = textAt(await gateway.event("ready"), "url");
  });
  afterAll(async () => {
    await gateway.stop();
    home[Symbol.dispose]();
  });

  function startGateway(machine: CliHome, certificate: TestCertificate): RunningCli {
    const [cert, key] = [machine.path("cert.pem"), machine.path("key.pem")];
    writeFileSync(cert, certificate.cert);
    writeFileSync(key, certificate.key, { mode: 0o600 });
    return machine.start(`gateway run --port 0 --json --tls-cert ${cert} --tls-key ${key}`);
  }

  test("is known on its own machine without a word", async () => {
    for (const line of ["devices list", `nodes list --url ${url}`]) {
      expect(await home.run(line)).toMatchObject({ code: 0 });
    }
  });

  test("takes a node on first sight, which finds it again by itself", async () => {
    using machine = new Machine();
    const made = await succeed(home.run(`pair invite --public-url ${url} --json`));
    const code = textAt(made.json, "code");
    // As if made by a gateway that puts no pin into its codes.
    const { tlsFingerprint, ...parts } = JSON.parse(Buffer.from(code, "base64url").toString()) as Record<
      string,
      unknown
    >;
    expect(tlsFingerprint).toBe(hexOf(first));
    const stdin = Buffer.from(JSON.stringify(parts)).toString("base64url");
    expect(await machine.run("pair join --code-file - --json", { stdin })).toMatchObject({
      json: { error: { code: "tls-failed" } },
    });
    await succeed(machine.run("pair join --code-file - --tls-accept-new", { stdin }));
    expect(machine.accepted).toMatchObject({ [url]: { fingerprint: hexOf(first) } });
    await using running = machine.start("node run --json");
    await running.event("ready");
    await succeed(machine.run("identity rotate"));
  });

  test("is linked with another one", async () => {
    using near = new CliHome();
    await using own = startGateway(near, second);
    await own.event("ready");
    await using sshd = await startSshd();
    const ssh = `${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
    const there = `--remote-openclaw '${process.execPath} ${binPath}' --remote-state-dir ${home.stateDir}`;
    await using link = near.spawn(`pair link ${ssh} ${there} --json`);
    expect(await link.event("linked")).toMatchObject({ toRemote: { verified: true }, toLocal: { verified: true } });
  });
});
