/**
 * A tunnel in a network of its own, with faults that only a network can have: links that vanish, addresses that change. Two network
 * namespaces joined by a virtual cable, which only root may lay; nothing of it is visible outside.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import { runTool, startSshd, type Sshd } from "../support/sshd.ts";
import { dial, exchange, startEcho, until } from "./tcp.ts";
import { local, optionsFor, remote, watchTunnel } from "./world.ts";

/** From the block for tests of interconnected networks (RFC 2544, 198.18.0.0/15), which is routed nowhere. */
const [here, alsoHere, there] = ["198.18.77.1", "198.18.77.3", "198.18.77.2"];

/** A cable to a namespace in which a server listens. */
class Cable implements AsyncDisposable {
  readonly #name = `oct${process.pid % 100_000}`;

  async lay(): Promise<void> {
    const name = this.#name;
    await runTool("ip", "netns", "add", name);
    await runTool("ip", "link", "add", `${name}a`, "type", "veth", "peer", "name", `${name}b`);
    await runTool("ip", "link", "set", `${name}b`, "netns", name);
    await runTool("ip", "addr", "add", `${here}/24`, "dev", `${name}a`);
    await runTool("ip", "link", "set", `${name}a`, "up");
    await runTool("ip", "-n", name, "addr", "add", `${there}/24`, "dev", `${name}b`);
    await runTool("ip", "-n", name, "link", "set", `${name}b`, "up");
    await runTool("ip", "-n", name, "link", "set", "lo", "up");
  }

  /** The words in front of a program that is to run at the far end. */
  get farEnd(): readonly string[] {
    return ["ip", "netns", "exec", this.#name];
  }

  /** Pulls the cable out, or plugs it in again. Nobody is told: packets vanish. */
  async plug(isIn: boolean): Promise<void> {
    await runTool("ip", "-n", this.#name, "link", "set", `${this.#name}b`, isIn ? "up" : "down");
  }

  /** Gives this end another address that it prefers from now on; the first one goes on working. */
  async changeAddress(): Promise<void> {
    await runTool("ip", "addr", "add", `${alsoHere}/24`, "dev", `${this.#name}a`);
    await runTool("ip", "route", "replace", `${there}/32`, "dev", `${this.#name}a`, "src", alsoHere);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runTool("ip", "link", "del", `${this.#name}a`).catch(() => {});
    await runTool("ip", "netns", "del", this.#name).catch(() => {});
  }
}

describe.runIf(process.getuid?.() === 0)("over a cable of its own", () => {
  let cable: Cable;
  let sshd: Sshd;
  beforeEach(async () => {
    cable = new Cable();
    await cable.lay();
    sshd = await startSshd({ address: there, wrapper: cable.farEnd });
  });
  afterEach(async () => {
    await sshd[Symbol.asyncDispose]();
    await cable[Symbol.asyncDispose]();
  });

  async function options(keepaliveMs: number) {
    const knownHosts = join(sshd.directory, "known_hosts_there");
    await writeFile(knownHosts, (await readFile(sshd.knownHostsFile, "utf8")).replace("127.0.0.1", there));
    return optionsFor(sshd, {
      host: there,
      keepaliveMs,
      hostKeys: { files: knownHostsFiles("/nonexistent", knownHosts) },
    });
  }

  test("a cable that is pulled out is noticed, and the tunnel is back on its ports when it is plugged in", async () => {
    await using echo = await startEcho();
    const forwards = [remote(`0:127.0.0.1:${echo.port}`), local(`0:${there}:${sshd.port}`)];
    await using watched = await watchTunnel({ ssh: await options(500), forwards });
    const before = watched.tunnel.forwards();
    await until(() => watched.tunnel.report().ssh?.serverPid !== undefined);
    const disconnected = watched.next("disconnected");
    await cable.plug(false);
    expect((await disconnected).reason).toMatch(/no sign of life|EHOSTUNREACH|ENETUNREACH/);
    const reconnected = watched.next("reconnected");
    await cable.plug(true);
    await reconnected;
    await until(() => watched.tunnel.forwards().every(({ state }) => state === "listening"));
    expect(watched.tunnel.forwards().map(({ port }) => port)).toEqual(before.map(({ port }) => port));
    expect(await watched.tunnel.check()).toMatchObject([{ ok: true }, { ok: true }]);
  });

  test("another address is moved to while the first one still works, and no stream is lost", async () => {
    await using echo = await startEcho();
    await using watched = await watchTunnel({ ssh: await options(300), forwards: [local(`0:${there}:${sshd.port}`)] });
    const [{ port } = { port: 0 }] = watched.tunnel.forwards();
    const socket = await dial(port);
    const greeting = new Promise<string>((resolve) => socket.once("data", (chunk) => resolve(String(chunk))));
    expect(await greeting).toMatch(/^SSH-2\.0/);
    const renewed = watched.next("renewed");
    await cable.changeAddress();
    expect(await renewed).toMatchObject({
      reason: `this machine now reaches the server from ${alsoHere} instead of ${here}`,
      draining: 1,
    });
    const answered = new Promise<string>((resolve) => socket.once("data", (chunk) => resolve(String(chunk))));
    socket.write("nonsense\r\n");
    expect(await answered).toContain("Invalid SSH identification string");
    socket.destroy();
    expect(watched.events.map(({ event }) => event)).not.toContain("disconnected");
    expect((await exchange(echo.port, "the echo was here all the time")).toString()).toContain("echo");
  });
});
