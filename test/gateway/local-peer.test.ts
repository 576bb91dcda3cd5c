/** Who counts as proven local (auth.md § 2), tried with real processes. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startRelay } from "../support/relay.ts";
import { sharedToken, startGateway, temporaryStore } from "../support/world.ts";

const program = fileURLToPath(new URL("../support/lone-operator.ts", import.meta.url));

/** How the gateway at `url` receives an operator's program that also talks to `otherPort`, if one is given. */
async function receive(url: string, otherPort = ""): Promise<string> {
  using directory = temporaryStore();
  const secretFile = join(dirname(directory.path), "token");
  writeFileSync(secretFile, sharedToken, { mode: 0o600 });
  const { stdout } = await promisify(execFile)(process.execPath, [program, url, secretFile, otherPort]);
  return stdout.trim();
}

test.runIf(process.platform === "linux")(
  "a program that talks to nobody else is enrolled with the shared secret",
  async () => {
    await using world = await startGateway();
    expect(await receive(world.url)).toBe("admitted");
    expect(world.gateway.devices()).toMatchObject([
      { approvedVia: "local", roles: ["operator"], scopes: ["operator.read"] },
    ]);
  },
);

test("a program that talks to somebody else too has to be approved", async () => {
  await using world = await startGateway();
  await using other = await startGateway();
  expect(await receive(world.url, String(other.gateway.port))).toBe("pairing-required");
});

test("a program that came through a relay has to be approved", async () => {
  await using world = await startGateway();
  await using relay = await startRelay(world.gateway.port);
  expect(await receive(relay.url)).toBe("pairing-required");
});

test("with the rule off nobody is enrolled without a person", async () => {
  await using world = await startGateway({ pairing: { autoApproveOperators: "never" } });
  expect(await receive(world.url)).toBe("pairing-required");
});
