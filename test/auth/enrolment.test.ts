/** Who is enrolled without a person (auth.md §§ 3, 4, 8), and what a session without a key may. */
import { describe, expect, test } from "vitest";
import { at, makeDevice, type Message, type RawConnect } from "../support/raw-client.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";

const from = (address: string) => ({ "X-Forwarded-For": address });
const node = { role: "node", scopes: [], commands: ["system.which"], auth: { token: sharedToken } } as const;

async function meet(world: World, options: RawConnect, headers: Record<string, string> = {}): Promise<Message> {
  const { client, response } = await world.connect(options, headers);
  client.socket.terminate();
  await client.closed;
  return response;
}

describe("gateway.nodes.pairing.autoApproveCidrs", () => {
  const options = {
    auth: { token: sharedToken },
    trustedProxies: ["127.0.0.1"],
    pairing: { autoApproveCidrs: ["192.0.2.0/24", "127.0.0.0/8"] },
  } as const;

  test("a first node of the range comes in, and its record says by which rule", async () => {
    await using world = await startGateway(options);
    const device = makeDevice();
    expect(await meet(world, { ...node, device }, from("192.0.2.5"))).toMatchObject({ ok: true });
    expect(world.gateway.devices()).toMatchObject([
      { deviceId: device.id, approvedVia: "trusted-cidr", roles: ["node"] },
    ]);
  });

  test.each<[who: string, connect: RawConnect, headers: Record<string, string>]>([
    ["a node of another address", { ...node, device: makeDevice() }, from("198.51.100.5")],
    ["a node of this machine, whatever the range says", { ...node, device: makeDevice() }, {}],
    ["a node that a proxy says is of this machine", { ...node, device: makeDevice() }, from("127.0.0.9")],
    [
      "an operator of the range",
      {
        device: makeDevice(),
        role: "operator",
        clientId: "openclaw-macos",
        mode: "ui",
        scopes: ["operator.read"],
        auth: { token: sharedToken },
      },
      from("192.0.2.5"),
    ],
  ])("%s waits for a person", async (_who, connect, headers) => {
    await using world = await startGateway(options);
    expect((await meet(world, connect, headers)).error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
  });

  test("what a known device asks for besides is for a person", async () => {
    await using world = await startGateway(options);
    const device = makeDevice();
    await world.pair({ device, role: "operator", clientId: "openclaw-macos", mode: "ui", scopes: ["operator.read"] });
    expect((await meet(world, { ...node, device }, from("192.0.2.5"))).error?.details).toMatchObject({
      code: "PAIRING_REQUIRED",
      reason: "role-upgrade",
    });
  });
});

describe("users for whom a proxy vouches", () => {
  const origin = "https://claw.example.com";
  const start = (auth: object) =>
    startGateway({
      auth: { mode: "trusted-proxy", trustedProxy: { userHeader: "X-User" }, ...auth },
      trustedProxies: ["127.0.0.1"],
      allowedOrigins: [origin],
    });
  const scopes = ["operator.admin", "operator.read", "operator.write"];
  const dashboard = {
    device: undefined,
    role: "operator",
    clientId: "openclaw-control-ui",
    mode: "ui",
    scopes,
  } as const;
  const as = (user: string) => ({ "X-User": user, Origin: origin, ...from("192.0.2.5") });

  test.each<[what: string, auth: object, user: string, granted: readonly string[]]>([
    ["the default scopes", {}, "me", scopes],
    ["those of identityScopes", { identityScopes: { me: ["operator.read"] } }, "me", ["operator.read"]],
    [
      "those that write implies",
      { identityScopes: { me: ["operator.write"] } },
      "me",
      ["operator.read", "operator.write"],
    ],
    [
      "within the cap, when they are not named",
      {
        identityScopes: { me: scopes },
        trustedProxy: { userHeader: "X-User", deviceAutoApprove: { scopes: ["operator.read"] } },
      },
      "somebody",
      ["operator.read"],
    ],
    ["nothing, when nothing is theirs", { identityScopes: { me: [] } }, "me", []],
    ["no property of an object", { identityScopes: {} }, "constructor", scopes],
  ])("have %s", async (_what, auth, user, granted) => {
    await using world = await start(auth);
    const hello = await meet(world, dashboard, as(user));
    expect(at(at(hello.payload, "auth"), "scopes")).toEqual(granted);
    const removed = scopes.filter((scope) => !granted.includes(scope));
    expect(at(at(hello.payload, "auth"), "removedScopes")).toEqual(removed.length === 0 ? undefined : removed);
  });

  test("their operator devices wait, unless deviceAutoApprove says that they need not", async () => {
    const connect = {
      device: makeDevice(),
      role: "operator",
      clientId: "openclaw-macos",
      mode: "ui",
      scopes: ["operator.read"],
    };
    await using strict = await start({});
    expect((await meet(strict, connect, as("me"))).error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
    await using open = await start({
      trustedProxy: { userHeader: "X-User", deviceAutoApprove: { enabled: true, scopes: ["operator.read"] } },
    });
    expect(await meet(open, connect, as("me"))).toMatchObject({ ok: true });
    expect(open.gateway.devices()).toMatchObject([{ approvedVia: "silent" }]);
    const wider = { ...connect, device: makeDevice(), scopes: ["operator.admin"] };
    expect((await meet(open, wider, as("me"))).error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
  });
});

describe("report C: local backend services", () => {
  const local = {
    device: undefined,
    role: "operator",
    scopes: ["operator.read", "operator.write"],
    auth: { token: sharedToken },
  } as const;

  test.each([
    ["gateway-client", "backend"],
    ["cli", "cli"],
  ])("%s/%s keeps the scopes that it asks for", async (clientId, mode) => {
    await using world = await startGateway();
    const hello = await meet(world, { ...local, clientId, mode });
    expect(hello).toMatchObject({ ok: true, payload: { auth: { scopes: ["operator.read", "operator.write"] } } });
  });

  test("openclaw-tui/ui needs a key, unless it is listed", async () => {
    await using world = await startGateway();
    const refused = await meet(world, { ...local, clientId: "openclaw-tui", mode: "ui" });
    expect(refused.error?.details).toMatchObject({ code: "DEVICE_IDENTITY_REQUIRED" });
    await using listed = await startGateway({
      pairing: { trustedLocalServices: [{ id: "openclaw-tui", scopes: ["operator.read"] }] },
    });
    expect(await meet(listed, { ...local, clientId: "openclaw-tui", mode: "ui" })).toMatchObject({
      ok: true,
      payload: { auth: { scopes: ["operator.read"], removedScopes: ["operator.write"] } },
    });
  });

  test("a listed service gets in by the shared token in trusted-proxy mode too, on loopback only", async () => {
    await using world = await startGateway({
      auth: { mode: "trusted-proxy", token: sharedToken, trustedProxy: { userHeader: "X-User" } },
      trustedProxies: ["192.0.2.1"],
      pairing: { trustedLocalServices: [{ id: "test", scopes: ["operator.write"] }] },
    });
    const service = { ...local, clientId: "test", mode: "backend" };
    expect(await meet(world, service)).toMatchObject({ ok: true, payload: { auth: { method: "internal" } } });
    expect((await meet(world, service, from("192.0.2.5"))).ok).toBe(false);
  });
});
