/**
 * A program of its own that comes to a gateway with nothing: the gateway's backend client, or whatever client is named. Prints what became of
 * it, and ends. argv: URL, client id, client mode, scopes, and the address to dial in place of the URL's.
 */
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { isFailure } from "../../src/errors.ts";

const [url = "", id = "gateway-client", mode = "backend", scopes = "operator.read", dialled = ""] =
  process.argv.slice(2);
try {
  await using session = await connectGateway({
    gateway: { url, ...(dialled === "" ? {} : { dialAt: { host: dialled, port: Number(new URL(url).port) } }) },
    client: { id, mode, version: "1", platform: "linux" },
    role: "operator",
    scopes: scopes.split(","),
    timeoutMs: 10_000,
  });
  const { method, scopes: granted } = session.hello.auth ?? {};
  process.stdout.write(`in by ${String(method)}: ${String(granted?.join(","))}\n`);
} catch (error) {
  const reason = isFailure(error) ? String(error.details?.["authReason"] ?? error.code) : String(error);
  process.stdout.write(`out: ${reason}\n`);
}
process.exit(0);
