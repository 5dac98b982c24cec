metadata description = 'Log Analytics, Application Insights without keys, and the workbook.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the Log Analytics workspace.')
param logAnalyticsName string

@description('Required. Name of the Application Insights component.')
param applicationInsightsName string

@description('Required. Days that logs are kept.')
param retentionDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: logAnalyticsName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    features: { enableLogAccessUsingOnlyResourcePermissions: true }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: applicationInsightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    RetentionInDays: retentionDays
    DisableLocalAuth: true
    // Alerts ask for single events: none may be sampled away at ingestion.
    SamplingPercentage: 100
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'vestibule-workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Vestibule'
    category: 'workbook'
    sourceId: insights.id
    version: 'Notebook/1.0'
    serializedData: loadTextContent('../workbook.json')
  }
}

@description('Resource id of the workspace.')
output logAnalyticsId string = workspace.id

@description('Resource id of the component.')
output applicationInsightsId string = insights.id

@description('Name of the component.')
output applicationInsightsName string = insights.name

@description('Where telemetry goes. It holds no key that would be accepted: ingestion asks for the identity.')
output connectionString string = insights.properties.ConnectionString
