/** Our gateway, on the database file it is told. */
import * as v from "valibot";
import { createGateway } from "../src/gateway/index.ts";
import { tokenKey } from "./approved-devices.ts";
import { serve } from "./server-process.ts";

const task = v.object({ store: v.string() });

serve(async (message) => {
  const { store } = v.parse(task, message);
  const gateway = await createGateway({
    store,
    tokenKey,
    // Every rule there is, so that the numbers are those of a gateway that uses them.
    auth: {
      token: "the shared token, which nobody here uses",
      password: "the password, which nobody here uses",
      trustedProxy: {
        userHeader: "x-forwarded-user",
        requiredHeaders: ["x-forwarded-proto"],
        allowUsers: ["me@example.com"],
      },
      identityScopes: { "me@example.com": ["operator.read"] },
    },
    trustedProxies: ["10.0.0.0/8", "fd00::/8"],
    tailscale: { mode: "enabled" },
    allowedOrigins: ["https://claw.example.com"],
    pairing: {
      autoApproveCidrs: ["10.1.0.0/16"],
      trustedLocalServices: [{ id: "test", scopes: ["operator.read"] }],
    },
    limits: { maxAttempts: 1_000_000 },
  });
  return { port: gateway.port };
});
