import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Azurite's table service as a process of its own, its data in a temporary folder or, where nothing `keeps` them, in memory. */
export async function startAzurite({ keeps = true } = {}): Promise<{
  connectionString: string;
  stop(): Promise<void>;
}> {
  const port = await freePort(); // the CLI prints the configured port, so port 0 cannot be read back
  const location = mkdtempSync(path.join(tmpdir(), "vestibule-azurite-"));
  const main = path.join(
    path.dirname(createRequire(import.meta.url).resolve("azurite/package.json")),
    "dist/src/table/main.js",
  );
  const args = [
    "--tableHost",
    "127.0.0.1",
    "--tablePort",
    String(port),
    ...(keeps ? ["--location", location] : ["--inMemoryPersistence"]),
  ];
  const flags = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"];
  const child = spawn(process.execPath, [main, ...args, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  await new Promise<void>((resolve, reject) => {
    const onData = (data: Buffer) => {
      output += data;
      if (/successfully (started|listening)/i.test(output)) resolve();
    };
    child.stdout.on("data", onData);
    child.stderr.on("data", onData);
    child.once("exit", (code) => reject(new Error(`Azurite ended with ${code}: ${output}`)));
  });
  return {
    connectionString: `DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=${key};TableEndpoint=http://127.0.0.1:${port}/devstoreaccount1;`,
    async stop() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGINT"); // Azurite saves on SIGINT and has no handler for SIGTERM
      await ended;
      rmSync(location, { recursive: true, force: true });
    },
  };
}
