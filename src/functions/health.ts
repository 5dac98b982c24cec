import { app } from "@azure/functions";
import { answering, json } from "../api/responses.ts";
import { engine } from "../composition.ts";
import { engineHealth } from "../engine/health.ts";

const monitor = engineHealth(engine);

app.http("health", {
  methods: ["GET"],
  authLevel: "anonymous",
  route: "health",
  handler: answering(async () => {
    const { status, checks, available } = await monitor.check();
    return json({ status, checks }, available ? 200 : 503);
  }),
});
