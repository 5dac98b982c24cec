metadata description = 'Plan and function app: dedicated Windows with a hybrid connection, or Flex Consumption in a virtual network.'

@description('Required. Azure region.')
param location string

@description('Required. Tags; azd-service-name tells azd where to deploy the code.')
param tags object

@description('Required. Name of the function app.')
param name string

@description('Required. Name of the plan.')
param planName string

@description('Required. True: dedicated Windows plan and hybrid connection. False: Flex Consumption.')
param isHybrid bool

@description('Required. Size of the dedicated plan.')
param dedicatedPlanSku string

@description('Required. Resource id of the managed identity.')
param identityId string

@description('Required. Client id of the managed identity.')
param identityClientId string

@description('Required. Name of the storage account.')
param storageName string

@description('Required. Container of the deployed package (Flex Consumption).')
param deploymentContainerUrl string

@description('Required. Subnet of the app; empty for none.')
param appSubnetId string

@description('Required. Name of the relay namespace; empty without a hybrid connection.')
param relayName string

@description('Required. Name of the hybrid connection; empty without one.')
param hybridConnectionName string

@description('Required. DNS name of the domain controller.')
param domainControllerHostName string

@description('Required. LDAPS port.')
param domainControllerPort int

@description('Required. Resource id of the Log Analytics workspace.')
param logAnalyticsId string

@description('Required. Client id of the app registration that protects the API; empty for function keys.')
param apiClientId string

@description('Required. App settings of the product.')
param settings object

// The Functions host reaches its own storage by identity as well.
var hostSettings = {
  AzureWebJobsStorage__accountName: storageName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
}

// Flex Consumption has these in functionAppConfig.
var dedicatedSettings = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'node'
  WEBSITE_NODE_DEFAULT_VERSION: '~22'
  WEBSITE_RUN_FROM_PACKAGE: '1'
}

var commonProperties = {
  serverFarmId: plan.id
  httpsOnly: true
  publicNetworkAccess: 'Enabled'
  clientCertEnabled: false
  keyVaultReferenceIdentity: identityId
  virtualNetworkSubnetId: empty(appSubnetId) ? null : appSubnetId
}

var commonSiteConfig = {
  minTlsVersion: '1.2'
  ftpsState: 'Disabled'
  http20Enabled: true
  remoteDebuggingEnabled: false
  vnetRouteAllEnabled: !empty(appSubnetId)
}

var flexProperties = {
  siteConfig: commonSiteConfig
  functionAppConfig: {
    deployment: {
      storage: {
        type: 'blobContainer'
        value: deploymentContainerUrl
        authentication: {
          type: 'UserAssignedIdentity'
          userAssignedIdentityResourceId: identityId
        }
      }
    }
    runtime: { name: 'node', version: '22' }
    scaleAndConcurrency: { instanceMemoryMB: 2048, maximumInstanceCount: 40 }
  }
}

// A dedicated plan must not put the app to sleep: timers would miss.
var dedicatedProperties = {
  siteConfig: union(commonSiteConfig, { alwaysOn: true, use32BitWorkerProcess: false })
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: isHybrid ? 'app' : 'functionapp'
  sku: isHybrid ? { name: dedicatedPlanSku, capacity: 1 } : { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: !isHybrid }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: tags
  kind: isHybrid ? 'functionapp' : 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: union(commonProperties, isHybrid ? dedicatedProperties : flexProperties)
}

resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(hostSettings, settings, isHybrid ? dedicatedSettings : {})
}

// Deployment goes by identity: user name and password are off.
resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

// Tokens of the app registration are checked before the app sees a call; its roles are enforced in the code. Health
// stays open for probes.
resource authentication 'Microsoft.Web/sites/config@2024-04-01' = if (!empty(apiClientId)) {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: true }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      excludedPaths: ['/api/health']
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: apiClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: { allowedAudiences: [apiClientId, 'api://${apiClientId}'] }
      }
    }
    login: { tokenStore: { enabled: false } }
    httpSettings: { requireHttps: true }
  }
}

resource sendRule 'Microsoft.Relay/namespaces/hybridConnections/authorizationRules@2021-11-01' existing = if (isHybrid) {
  name: '${relayName}/${hybridConnectionName}/defaultSender'
}

resource hybridConnection 'Microsoft.Web/sites/hybridConnectionNamespaces/relays@2024-04-01' = if (isHybrid) {
  name: '${app.name}/${relayName}/${hybridConnectionName}'
  properties: {
    relayArmUri: resourceId('Microsoft.Relay/namespaces/hybridConnections', relayName, hybridConnectionName)
    relayName: hybridConnectionName
    serviceBusNamespace: relayName
    hostname: domainControllerHostName
    port: domainControllerPort
    sendKeyName: 'defaultSender'
    sendKeyValue: sendRule!.listKeys().primaryKey
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: app
  properties: {
    workspaceId: logAnalyticsId
    logs: [{ category: 'FunctionAppLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Name of the function app.')
output name string = app.name

@description('Host name of the function app.')
output hostName string = app.properties.defaultHostName
