module kymaros.io/testbed/tools

go 1.26.0
