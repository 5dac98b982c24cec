import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { openApiDocument } from "../api/openapi.ts";
import { answering, json } from "../api/responses.ts";

app.http("getOpenApi", {
  methods: ["GET"],
  authLevel,
  route: "openapi.json",
  handler: answering(async () => json(openApiDocument())),
});
