"""The methods of the client, a module for each service of the contract."""
