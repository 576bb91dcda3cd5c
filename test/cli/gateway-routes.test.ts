/** `gateway.http.routes` in the configuration file: a service behind the gateway that `openclaw gateway run` starts. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CliHome } from "../support/run-cli.ts";
import { startUpstream, streamWords } from "../support/upstream.ts";

test("a route of the configuration leads to its service, for who has the gateway's token", async () => {
  await using upstream = await startUpstream(streamWords("hello"));
  using home = new CliHome();
  const routes = JSON.stringify([{ path: "/v1/", upstream: upstream.url, scope: "operator.read" }]);
  expect(await home.run(["config", "set", "gateway.http.routes", routes])).toMatchObject({ code: 0 });
  await using running = home.start("gateway run --port 0 --json");
  const { port } = await running.event("ready");
  const token = readFileSync(home.path(".openclaw", "toolkit", "gateway-token"), "utf8").trim();
  const models = `http://127.0.0.1:${String(port)}/v1/models`;
  const response = await fetch(models, { headers: { Authorization: `Bearer ${token}` } });
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining("hello")]);
  expect((await fetch(models, { headers: { Authorization: "Bearer wrong" } })).status).toBe(401);
  expect(upstream.exchanges.items).toHaveLength(1);
  const { stdout, stderr } = await running.stop();
  expect(stdout + stderr).not.toContain(token);
});

test("a route that cannot work is named before the gateway listens", async () => {
  using home = new CliHome();
  const routes = JSON.stringify([{ path: "/metrics", upstream: "http://127.0.0.1:8000" }]);
  await home.run(["config", "set", "gateway.http.routes", routes]);
  expect(await home.run("gateway run --port 0 --json")).toMatchObject({
    code: 2,
    json: { error: { code: "usage", message: expect.stringContaining("gateway.http.routes: /metrics:") } },
  });
});
