package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/runtime/admin"
)

// namesOf lists what a running instance has of a kind.
type namesOf func(ctx context.Context, cl *admin.Client) ([]string, error)

func topicNames(ctx context.Context, cl *admin.Client) (names []string, err error) {
	list, err := cl.Topics(ctx)
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names, err
}

func pipelineNames(ctx context.Context, cl *admin.Client) (names []string, err error) {
	list, err := cl.Pipelines(ctx)
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names, err
}

func pluginNames(ctx context.Context, cl *admin.Client) (names []string, err error) {
	list, err := cl.Plugins(ctx)
	for i := range list {
		names = append(names, list[i].Name)
	}
	return names, err
}

// hinted adds to the error about a name that does not exist what was probably
// meant, or which names there are. Other errors stay as they are.
func hinted(ctx context.Context, cl *admin.Client, of namesOf, name string, err error) error {
	var answer *admin.Error
	if !errors.As(err, &answer) || answer.Status != http.StatusNotFound {
		return err
	}
	names, listErr := of(ctx, cl)
	switch near := nearest(name, names); {
	case listErr != nil || slices.Contains(names, name):
		return err
	case near != "":
		return fmt.Errorf("%w: did you mean %q?", err, near)
	case len(names) == 1:
		return fmt.Errorf("%w: there is only %s", err, names[0])
	case len(names) > 0:
		return fmt.Errorf("%w: there are %s", err, strings.Join(names, ", "))
	}
	return err
}

// completeTimeout bounds the question of a shell that completes a name.
const completeTimeout = time.Second

// named makes a shell complete the command's NAME from the running instance.
func (a *app) named(of namesOf, c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cl, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completeTimeout)
		defer cancel()
		names, err := of(ctx, cl)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}
