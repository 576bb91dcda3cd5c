/** Listening ports that deserve a word: a gateway's browser control, and addresses that others can reach. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { connectSsh } from "../../src/ssh/connect.ts";
import {
  browserControlClashes,
  clashWarning,
  exposureWarning,
  isLoopback,
  refuseTakenHere,
  refuseTakenThere,
} from "../../src/tunnel/port-safety.ts";
import { freePort, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { startEcho } from "./tcp.ts";
import { local, optionsFor, remote } from "./world.ts";

const usual = { here: [18_789], there: [18_789] };

describe("the port of a gateway's browser control", () => {
  test.each([
    ["-L 18791 beside the default port here", [local("18791:127.0.0.1:1")], usual, [18_789]],
    ["-R 18791 beside the default port there", [remote("18791:127.0.0.1:1")], usual, [18_789]],
    ["-L beside a port that is configured here", [local("19003:h:1")], { here: [18_789, 19_001], there: [] }, [19_001]],
    ["-R beside a port that is only used here", [remote("19003:h:1")], { here: [19_001], there: [18_789] }, []],
    ["the target's port is no listening port", [remote("18790:127.0.0.1:18791")], usual, []],
    ["the gateway's own port, and the one above", [local("18789:h:1"), remote("18790:h:1")], usual, []],
    ["a port that the machine chooses", [local("0:h:1"), remote("0:h:1")], usual, []],
  ])("%s", (_name, forwards, gateways, want) => {
    expect(browserControlClashes(forwards, gateways).map(({ gatewayPort }) => gatewayPort)).toEqual(want);
  });

  test("is warned about with the reason", () => {
    const [clash] = browserControlClashes([remote("18791:127.0.0.1:18789")], usual);
    expect(clash && clashWarning(clash)).toMatch(/gateway on port 18789 has its browser control.*the server.*-R/u);
  });
});

describe("who can reach a forward", () => {
  test.each(["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost", "::ffff:127.0.0.1"])("%s is loopback", (bind) =>
    expect(isLoopback(bind)).toBe(true),
  );

  test.each(["*", "0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1", "gateway.lan", "0::0"])(
    "%s is not",
    (bind) => expect(isLoopback(bind)).toBe(false),
  );

  test.each([
    [local("*:8080:h:1"), /every address of this machine/u],
    [local("[::]:8080:h:1"), /every address of this machine/u],
    [local("192.168.1.7:8080:h:1"), /the address 192\.168\.1\.7 of this machine/u],
    [remote("0.0.0.0:8080:h:1"), /every address of the server.*GatewayPorts no/u],
    [remote("10.1.2.3:8080:h:1"), /the address 10\.1\.2\.3 of the server.*GatewayPorts no/u],
  ])("is told for all that is not: %j", (forward, want) => {
    expect(exposureWarning(forward)).toMatch(want);
  });

  test("is not told for loopback, asked for or not", () => {
    const forwards = [local("8080:h:1"), remote("8080:h:1"), remote("localhost:8080:h:1"), local("[::1]:8080:h:1")];
    expect(forwards.map(exposureWarning)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe("a port that already answers", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await startSshd();
  });
  afterAll(async () => sshd[Symbol.asyncDispose]());

  test.each(["127.0.0.1", "::1"])("here, on %s, is refused, and a free one is not", async (host) => {
    const { port } = await (async () => {
      await using echo = await startEcho({ port: 0, host });
      const clashes = browserControlClashes([local(`${echo.port}:h:1`)], { here: [echo.port - 2], there: [] });
      await expect(refuseTakenHere(clashes, systemRuntime)).rejects.toMatchObject({
        code: "port-in-use",
        message: expect.stringContaining("browser control"),
      });
      return echo;
    })();
    const clashes = browserControlClashes([local(`${port}:h:1`)], { here: [port - 2], there: [] });
    await refuseTakenHere(clashes, systemRuntime);
  });

  test("there is refused, and a free one is not", async () => {
    await using echo = await startEcho();
    await using connection = await connectSsh(optionsFor(sshd));
    const clashes = (port: number) => browserControlClashes([remote(`${port}:h:1`)], { here: [], there: [port - 2] });
    await expect(refuseTakenThere(clashes(echo.port), connection)).rejects.toMatchObject({
      code: "port-in-use",
      details: { direction: "remote", port: echo.port, gatewayPort: echo.port - 2 },
    });
    await refuseTakenThere(clashes(await freePort()), connection);
  });

  test("there is not refused by us when the server does not let us look", async () => {
    await using strict = await startSshd({ config: ["PermitOpen none"] });
    await using echo = await startEcho();
    await using connection = await connectSsh(optionsFor(strict));
    const [clash] = browserControlClashes([remote(`${echo.port}:h:1`)], { here: [], there: [echo.port - 2] });
    await expect(refuseTakenThere(clash === undefined ? [] : [clash], connection)).resolves.toBeUndefined();
  });
});
