/** Moves a machine's secrets, and is killed at the given moment: before or after its nth question to the keychain. Prints how many moments there were. */
import { systemRuntime } from "../../src/runtime.ts";
import { moveSecrets } from "../../src/state/move-secrets.ts";
import { TokenFile } from "../../src/state/token-memory.ts";
import { FileKeychain, keychainStore } from "./file-keychain.ts";

const [, , identityPath = "", tokenPath = "", keychainDir = "", to = "", killAt = ""] = process.argv;
let moment = 0;
const secrets = keychainStore(
  new FileKeychain(keychainDir, () => {
    if (++moment === Number(killAt)) process.kill(process.pid, "SIGKILL");
  }),
);
const store = to === "keychain" ? "keychain" : "file";
const tokens = new TokenFile(tokenPath, systemRuntime, { secrets, storeForNew: async () => store });
await moveSecrets({ identityPath, tokens, secrets, to: store, runtime: systemRuntime });
console.log(moment);
