/** Clients without a key, as the commands that list, approve and rotate devices show them. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { at, textAt } from "../support/raw-client.ts";
import { RpcClient } from "../support/rpc-client.ts";
import { type GatewayHome, startGatewayHome } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

/** A client that comes through the tunnel. */
const client = (role: string, token: string) =>
  RpcClient.admitted(`ws://127.0.0.1:${home.tunnelPort}`, { role, auth: { token } });

test("a keyless client is marked while it waits and once it is paired, and is approved by its request or device id", async () => {
  await using panel = await client("control", home.token);
  const asked = await panel.call("node.pair.request", { displayName: "wall panel" });
  const deviceId = textAt(asked, "deviceId");
  for (const list of ["devices list", "pair list"]) {
    const { stdout } = await home.ask(list);
    expect(stdout).toContain(deviceId);
    expect(stdout).toContain("wall panel (no key: plain bearer token)");
  }
  expect(await home.ask(`devices approve ${deviceId} --json`)).toMatchObject({
    code: 0,
    json: { device: { deviceId, keyless: true, scopes: ["operator.read", "operator.write"] } },
  });
  const token = textAt(await panel.notification("node.pair.resolved"), "token");
  const listed = await home.ask("devices list");
  expect(listed.stdout).toMatch(new RegExp(`${deviceId} +wall panel \\(no key: plain bearer token\\) +operator`, "u"));
  expect(await home.ask("devices list --json")).toMatchObject({ json: { paired: [{ deviceId, keyless: true }] } });
  await using session = await client("control", token);
  expect(at(session.hello, "auth", "method")).toBe("device-token");
  expect(await home.ask(`devices revoke ${deviceId} --role operator`)).toMatchObject({ code: 0 });
  expect(await session.closed).toMatchObject({ code: 4001 });
});
