/** A gateway that is meant to be killed in the middle of a rotation. argv: store path. Says its port on stdout. */
import { writeSync } from "node:fs";
import { createGateway } from "../../src/gateway/index.ts";
import { sharedToken, tokenKey } from "./world.ts";

const [storePath = ""] = process.argv.slice(2);
const gateway = await createGateway({ store: storePath, tokenKey, auth: { token: sharedToken } });
writeSync(1, `${JSON.stringify({ event: "ready", port: gateway.port })}\n`);
