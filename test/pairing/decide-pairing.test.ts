import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Applicant,
  decidePairing,
  type PairingDecision,
  type PairingPolicy,
} from "../../src/pairing/decide-pairing.ts";
import { isInternalClient } from "../../src/pairing/decide-auth.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { approveDevice, optional } from "../../src/pairing/requests.ts";
import { holdsScopes } from "../../src/protocol/vocabulary.ts";

const autoApprovals = ["proven-local", "loopback", "never"] as const;
const byDefault: PairingPolicy = { autoApproveOperators: "proven-local", trustedLocalServices: [] };

/** An operator with a key and the shared token, from another machine. */
const operator: Applicant = {
  role: "operator",
  scopes: ["operator.read"],
  clientId: "openclaw-macos",
  clientMode: "ui",
  platform: "macos",
  deviceFamily: "Mac",
  authenticatedBy: "token",
  isDirect: false,
  isProvenLocal: false,
  hasDevice: true,
};
const node: Applicant = {
  ...operator,
  role: "node",
  scopes: [],
  clientId: "node-host",
  clientMode: "node",
  platform: "linux",
  deviceFamily: "Linux",
};

const record: DeviceRecord = {
  deviceId: "d",
  publicKey: "k",
  clientId: "x",
  clientMode: "x",
  platform: "macos",
  deviceFamily: "Mac",
  roles: ["operator"],
  scopes: ["operator.read", "operator.write"],
  tokens: {},
  createdAtMs: 1,
  approvedAtMs: 1,
  approvedVia: "owner",
};
const nodeRecord: DeviceRecord = { ...record, platform: "linux", deviceFamily: "Linux", roles: ["node"], scopes: [] };

describe("a node with an invite that nobody has used", () => {
  const invited: Applicant = { ...node, authenticatedBy: "bootstrap-token", isInvited: true };

  test.each<[name: string, record: DeviceRecord | undefined]>([
    ["unknown", undefined],
    ["known as an operator", { ...record, platform: "linux", deviceFamily: "Linux" }],
    ["known under another platform", { ...nodeRecord, platform: "windows" }],
    ["known already, which uses the invite up all the same", nodeRecord],
  ])("is enrolled without a person: %s", (_name, known) => {
    expect(decidePairing(byDefault, invited, known)).toMatchObject({ ok: "enrol", via: "bootstrap" });
  });

  test("without a device holds nothing, whoever the client says that it is", () => {
    const own = { clientId: "gateway-client", clientMode: "backend", isDirect: true, isProvenLocal: true };
    const looker: Applicant = { ...operator, ...own, authenticatedBy: "bootstrap-token", hasDevice: false };
    expect(decidePairing(byDefault, { ...looker, scopes: ["operator.admin"] }, undefined)).toEqual({
      ok: "admit",
      scopes: [],
    });
  });

  test("comes again with it as anybody comes", () => {
    const again = { ...invited, isInvited: false };
    expect(decidePairing(byDefault, again, nodeRecord)).toEqual({ ok: "admit", scopes: [] });
    expect(decidePairing(byDefault, again, { ...nodeRecord, platform: "windows" })).toMatchObject({ ok: "pend" });
    expect(decidePairing(byDefault, again, undefined)).toEqual({ ok: "pend", reason: "not-paired" });
  });
});

/** What a table needs of a decision. */
function outcome(decision: PairingDecision): string {
  switch (decision.ok) {
    case "admit":
      return decision.removed === undefined
        ? `admit ${decision.scopes.join(",")}`.trim()
        : `admit ${decision.scopes.join(",")}; removed ${decision.removed.join(",")}`;
    case "enrol":
      return `enrol via ${decision.via}: ${decision.reason}`;
    case "pend":
      return `pend: ${decision.reason}`;
    case "refuse":
      return `refuse: ${decision.code}`;
  }
}

describe("a device with a key", () => {
  test.each<[what: string, applicant: Partial<Applicant>, device: DeviceRecord | undefined, want: string]>([
    ["is in with what was approved", {}, record, "admit operator.read"],
    [
      "is in with what its approval implies",
      { scopes: ["operator.sessions.read"] },
      record,
      "admit operator.sessions.read",
    ],
    ["is in without scopes", { scopes: [] }, record, "admit"],
    ["asks when nobody knows it", {}, undefined, "pend: not-paired"],
    ["asks for more scopes", { scopes: ["operator.read", "operator.admin"] }, record, "pend: scope-upgrade"],
    ["asks for another role", {}, nodeRecord, "pend: role-upgrade"],
    [
      "asks for the role before the scopes and the platform",
      { scopes: ["operator.admin"] },
      nodeRecord,
      "pend: role-upgrade",
    ],
    ["asks when its platform changed", { platform: "linux" }, record, "pend: metadata-upgrade"],
    ["asks when its family changed", { deviceFamily: "iPhone" }, record, "pend: metadata-upgrade"],
    ["asks when its family is no longer told", { deviceFamily: undefined }, record, "pend: metadata-upgrade"],
    [
      "may write its platform in another way",
      { platform: " MacOS ", deviceFamily: "MAC" },
      record,
      "admit operator.read",
    ],
  ])("%s", (_what, applicant, device, want) => {
    expect(outcome(decidePairing(byDefault, { ...operator, ...applicant }, device))).toBe(want);
  });

  test("may add a family that was never pinned", () => {
    const { deviceFamily: _never, ...unpinned } = record;
    expect(outcome(decidePairing(byDefault, operator, unpinned))).toBe("admit operator.read");
  });

  test.each<[what: string, applicant: Partial<Applicant>, device: DeviceRecord | undefined, want: string]>([
    ["waits for a person when it is new", {}, undefined, "pend: not-paired"],
    ["waits even on the gateway's own host", { isDirect: true, isProvenLocal: true }, undefined, "pend: not-paired"],
    ["is in once it was approved", {}, nodeRecord, "admit"],
    ["waits when the key was approved for an operator only", {}, record, "pend: role-upgrade"],
    ["waits when its platform changed", { platform: "macos" }, nodeRecord, "pend: metadata-upgrade"],
  ])("a node %s", (_what, applicant, device, want) => {
    for (const autoApproveOperators of autoApprovals) {
      const policy = { ...byDefault, autoApproveOperators };
      expect(outcome(decidePairing(policy, { ...node, ...applicant }, device))).toBe(want);
    }
  });
});

describe("an operator nobody knows", () => {
  type Where = [
    where: string,
    seen: Pick<Applicant, "isDirect" | "isProvenLocal">,
    ...enrols: [provenLocal: boolean, loopback: boolean, never: boolean],
  ];
  const places: Where[] = [
    ["from another machine, or through a tunnel", { isDirect: false, isProvenLocal: false }, false, false, false],
    ["on direct loopback, not proven local", { isDirect: true, isProvenLocal: false }, false, true, false],
    ["proven local", { isDirect: true, isProvenLocal: true }, true, true, false],
  ];
  const cases = places.flatMap(([where, seen, ...enrols]) =>
    autoApprovals.map((auto, at) => [where, auto, seen, enrols[at] === true] as const),
  );

  test.each(cases)("%s, autoApproveOperators %s", (_where, autoApproveOperators, seen, enrols) => {
    const policy = { ...byDefault, autoApproveOperators };
    for (const authenticatedBy of ["token", "password"] as const) {
      const want = enrols ? "enrol via local: not-paired" : "pend: not-paired";
      expect(outcome(decidePairing(policy, { ...operator, ...seen, authenticatedBy }, undefined))).toBe(want);
    }
    // Anything but the shared secret enrols nobody: a device token is a right that was given, not one to give.
    for (const authenticatedBy of ["device-token", "internal", "none"] as const) {
      expect(outcome(decidePairing(policy, { ...operator, ...seen, authenticatedBy }, undefined))).toBe(
        "pend: not-paired",
      );
    }
  });

  test.each<[what: string, change: Partial<Applicant>, device: DeviceRecord, want: string]>([
    ["more scopes", { scopes: ["operator.admin"] }, record, "enrol via local: scope-upgrade"],
    ["another role", {}, { ...record, roles: ["node"] }, "enrol via local: role-upgrade"],
    ["another platform", { platform: "linux" }, record, "pend: metadata-upgrade"],
  ])("once known and proven local: %s", (_what, change, device, want) => {
    expect(
      outcome(decidePairing(byDefault, { ...operator, isDirect: true, isProvenLocal: true, ...change }, device)),
    ).toBe(want);
  });
});

describe("a client without a key", () => {
  const services: PairingPolicy = {
    ...byDefault,
    trustedLocalServices: [
      { id: "my-service", scopes: ["operator.write"] },
      { id: "openclaw-tui", scopes: ["operator.read"] },
    ],
  };
  const wanted = ["operator.read", "operator.write"];
  const all = "operator.read,operator.write";
  const keyless: Applicant = { ...operator, scopes: wanted, hasDevice: false };

  // The first three rows are report C's; then the kinds of auth.md § 4.
  test.each<[clientId: string, clientMode: string, isDirect: boolean, want: string]>([
    ["openclaw-tui", "ui", true, "refuse: DEVICE_IDENTITY_REQUIRED"],
    ["gateway-client", "backend", true, `admit ${all}`],
    ["cli", "cli", true, `admit ${all}`],
    ["gateway-client", "backend", false, `admit ; removed ${all}`],
    ["cli", "cli", false, `admit ; removed ${all}`],
    ["cli", "backend", true, `admit ; removed ${all}`],
    ["openclaw-probe", "probe", true, `admit ; removed ${all}`],
    ["openclaw-control-ui", "ui", true, "refuse: CONTROL_UI_DEVICE_IDENTITY_REQUIRED"],
    ["openclaw-control-ui", "webchat", false, "refuse: CONTROL_UI_DEVICE_IDENTITY_REQUIRED"],
    ["webchat", "webchat", true, "refuse: DEVICE_IDENTITY_REQUIRED"],
    ["my-service", "backend", true, `admit ; removed ${all}`],
  ])("%s/%s, direct %s", (clientId, clientMode, isDirect, want) => {
    expect(outcome(decidePairing(byDefault, { ...keyless, clientId, clientMode, isDirect }, undefined))).toBe(want);
  });

  test.each<[what: string, applicant: Partial<Applicant>, want: string]>([
    [
      "keeps its listed scopes, and what they imply",
      { clientId: "my-service", clientMode: "backend", isDirect: true },
      `admit ${all}`,
    ],
    [
      "keeps no more than its listed scopes",
      { clientId: "my-service", clientMode: "backend", isDirect: true, scopes: ["operator.read", "operator.admin"] },
      "admit operator.read; removed operator.admin",
    ],
    [
      "may be an interface",
      { clientId: "openclaw-tui", clientMode: "ui", isDirect: true },
      "admit operator.read; removed operator.write",
    ],
    [
      "is one only on direct loopback",
      { clientId: "my-service", clientMode: "backend", isDirect: false },
      `admit ; removed ${all}`,
    ],
    [
      "that is an interface is refused elsewhere",
      { clientId: "openclaw-tui", clientMode: "ui", isDirect: false },
      "refuse: DEVICE_IDENTITY_REQUIRED",
    ],
  ])("a trusted local service %s", (_what, applicant, want) => {
    expect(outcome(decidePairing(services, { ...keyless, ...applicant }, undefined))).toBe(want);
  });

  test("is never a node", () => {
    for (const clientId of ["node-host", "cli", "my-service"]) {
      const applicant = { ...node, clientId, isDirect: true, isProvenLocal: true, hasDevice: false };
      expect(outcome(decidePairing(services, applicant, undefined))).toBe("refuse: DEVICE_IDENTITY_REQUIRED");
    }
  });

  test("is told why it has no scopes", () => {
    const decision = decidePairing(byDefault, { ...keyless, clientId: "cli", clientMode: "cli" }, undefined);
    expect(decision).toMatchObject({
      ok: "admit",
      scopes: [],
      removed: wanted,
      why: expect.stringContaining("device key"),
    });
  });

  test("that asks for nothing loses nothing", () => {
    expect(
      decidePairing(byDefault, { ...keyless, clientId: "openclaw-probe", clientMode: "probe", scopes: [] }, undefined),
    ).toEqual({ ok: "admit", scopes: [] });
  });
});

describe("of any applicant", () => {
  const scopes = fc.subarray(["operator.read", "operator.write", "operator.admin", "operator.pairing", "constructor"]);
  const anyApplicant: fc.Arbitrary<Applicant> = fc.record({
    role: fc.constantFrom("operator", "node"),
    scopes,
    clientId: fc.constantFrom("cli", "gateway-client", "openclaw-tui", "node-host", "my-service"),
    clientMode: fc.constantFrom("cli", "backend", "ui", "node"),
    platform: fc.constantFrom(undefined, "linux", "macos", "constructor"),
    deviceFamily: fc.constantFrom(undefined, "Linux", "Mac"),
    authenticatedBy: fc.constantFrom("device-token", "token", "password", "internal", "none"),
    isDirect: fc.boolean(),
    isProvenLocal: fc.boolean(),
    hasDevice: fc.boolean(),
  });
  const anyPolicy: fc.Arbitrary<PairingPolicy> = fc.record({
    autoApproveOperators: fc.constantFrom(...autoApprovals),
    trustedLocalServices: fc.array(fc.record({ id: fc.constantFrom("my-service", "openclaw-tui"), scopes }), {
      maxLength: 2,
    }),
  });
  const anyRecord: fc.Arbitrary<DeviceRecord | undefined> = fc.option(
    fc.record({ roles: fc.subarray(["operator", "node"]), scopes }).map((rights) => ({ ...record, ...rights })),
    { nil: undefined },
  );

  test("granted and removed scopes are together what was asked for", () => {
    fc.assert(
      fc.property(anyPolicy, anyApplicant, anyRecord, (policy, applicant, device) => {
        const decision = decidePairing(policy, applicant, device);
        fc.pre(decision.ok === "admit");
        const wanted = applicant.role === "node" ? [] : applicant.scopes; // operator scopes mean nothing to a node
        expect([...decision.scopes, ...(decision.removed ?? [])].toSorted()).toEqual(wanted.toSorted());
        expect(decision.why === undefined).toBe(decision.removed === undefined);
      }),
    );
  });

  test("a key is let in only with an approved role and scopes, but for the gateway's own callers", () => {
    fc.assert(
      fc.property(anyPolicy, anyApplicant, anyRecord, (policy, applicant, device) => {
        const decision = decidePairing(policy, { ...applicant, hasDevice: true }, device);
        const isOwnCaller = applicant.isDirect && isInternalClient(applicant.clientId, applicant.clientMode);
        fc.pre(decision.ok === "admit" && !isOwnCaller);
        expect(device?.roles).toContain(applicant.role);
        expect(applicant.role === "node" || holdsScopes(device?.scopes ?? [], decision.scopes)).toBe(true);
      }),
    );
  });

  test("a node is never let in, nor enrolled, by a rule of operators", () => {
    fc.assert(
      fc.property(anyPolicy, anyApplicant, (policy, applicant) => {
        expect(decidePairing(policy, { ...applicant, role: "node" }, undefined).ok).toBeOneOf(["pend", "refuse"]);
      }),
    );
  });

  test("what has to be asked for is granted by the approval of exactly that", () => {
    fc.assert(
      fc.property(anyPolicy, anyApplicant, anyRecord, (policy, seen, device) => {
        const applicant = { ...seen, hasDevice: true };
        const decision = decidePairing(policy, applicant, device);
        fc.pre(decision.ok === "pend");
        const { role, clientId, clientMode, scopes: asked } = applicant;
        const stated = {
          ...optional("platform", applicant.platform),
          ...optional("deviceFamily", applicant.deviceFamily),
        };
        const request = {
          requestId: "r",
          deviceId: "d",
          publicKey: "k",
          reason: decision.reason,
          isRepair: false,
          createdAtMs: 1,
          ts: 1,
        };
        const approved = approveDevice(
          device,
          { ...request, ...stated, role, clientId, clientMode, scopes: asked },
          "owner",
          2,
        );
        expect(decidePairing(policy, applicant, approved).ok).toBe("admit");
      }),
    );
  });
});

describe("the gateway's own caller with a key that nobody approved", () => {
  const own: Applicant = {
    ...operator,
    clientId: "cli",
    clientMode: "cli",
    isDirect: true,
    scopes: ["operator.admin"],
  };

  test("keeps its scopes on a direct loopback connection with the shared secret", () => {
    expect(decidePairing(byDefault, own, undefined)).toEqual({ ok: "admit", scopes: ["operator.admin"] });
  });

  test("is enrolled where its process is proven local", () => {
    expect(decidePairing(byDefault, { ...own, isProvenLocal: true }, undefined)).toMatchObject({ ok: "enrol" });
  });

  test.each<[name: string, change: Partial<Applicant>]>([
    ["through a tunnel", { isDirect: false }],
    ["with a device token", { authenticatedBy: "device-token" }],
    ["without a credential", { authenticatedBy: "none" }],
    ["as a node", { role: "node", scopes: [] }],
  ])("waits like any other %s", (_name, change) => {
    expect(decidePairing(byDefault, { ...own, ...change }, undefined)).toMatchObject({ ok: "pend" });
  });
});
