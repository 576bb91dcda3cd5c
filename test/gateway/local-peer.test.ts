/** Operators with the shared secret are enrolled silently only when their process is proven local (auth.md §§ 2, 8). */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { createGateway } from "../../src/gateway/index.ts";
import { proveLocal } from "../../src/gateway/arrival/local-peer.ts";
import { lookAtSystem, type SystemView } from "../../src/gateway/arrival/system-sockets.ts";
import type { PairingPolicy } from "../../src/pairing/decide-pairing.ts";

const caller = join(import.meta.dirname, "../support/local-caller.ts");
const auth = { mode: "token", token: "right" } as const;

async function call(url: string, mode: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [caller, url, "right", mode]);
  return stdout.trim();
}

test.each<[name: string, mode: string, pairing: Partial<PairingPolicy>, want: string]>([
  ["a process that only talks to the gateway is enrolled", "direct", {}, "in: operator.read"],
  ["a process that also listens may relay, and waits", "listening", {}, "out: pairing-required"],
  ["never means never", "direct", { autoApproveOperators: "never" }, "out: pairing-required"],
  [
    "loopback is enough where the owner says so",
    "listening",
    { autoApproveOperators: "loopback" },
    "in: operator.read",
  ],
])("%s", async (_name, mode, pairing, want) => {
  await using gateway = await createGateway({ auth, pairing });
  expect(await call(gateway.url, mode)).toBe(want);
});

test("the record of a silent enrolment says that it was local", async () => {
  await using gateway = await createGateway({ auth });
  await call(gateway.url, "direct");
  expect(gateway.devices()).toMatchObject([{ approvedVia: "local", roles: ["operator"] }]);
});

test("a peer that no table knows is not proven", async () => {
  await expect(proveLocal({ port: 1, isDirect: true }, 2)).resolves.toEqual({
    isProven: false,
    reason: "peer-unknown",
  });
});

test("a port in use names the program that has it, and nothing of its arguments", async () => {
  const program =
    "require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })";
  const child = spawn(process.execPath, ["-e", program, "--", "--token=hunter2"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [line]: Buffer[] = await once(child.stdout, "data");
    const failure: unknown = await createGateway({ port: Number(line) }).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "port-in-use",
      message: `port ${Number(line)} on 127.0.0.1 is taken by ${basename(process.execPath)} (pid ${child.pid})`,
      details: { holder: { pid: child.pid, name: basename(process.execPath) } },
    });
  } finally {
    child.kill();
  }
});

test("a port in use names the process that has it", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await expect(createGateway({ port })).rejects.toMatchObject({
    code: "port-in-use",
    message: expect.stringContaining(`(pid ${process.pid})`),
  });
  server.close();
});

test("however many ask at once, the system is looked at twice: now, and once for all who came meanwhile", async () => {
  const [first, ...others] = Array.from({ length: 200 }, () => lookAtSystem());
  const views = new Set(await Promise.all(others));
  expect(views.size).toBe(1);
  expect(views.has((await first) as SystemView)).toBe(false);
  expect(await lookAtSystem()).not.toBe([...views][0]);
});

test("what is asked for while a look is under way is seen by one that began afterwards", async () => {
  void lookAtSystem();
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const { sockets } = await lookAtSystem();
  expect([...sockets.values()].some(({ localPort, isListening }) => isListening && localPort === port)).toBe(true);
  server.close();
});
